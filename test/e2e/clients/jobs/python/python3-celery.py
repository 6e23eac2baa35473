"""Celery: Rondo as the broker, and as the store of results."""
from celery import Celery

from job import lacks, password, port

app = Celery("tasks", broker=f"redis://:{password}@127.0.0.1:{port}/0", backend=f"redis://:{password}@127.0.0.1:{port}/1")
app.conf.broker_transport_options = {"max_retries": 1, "interval_start": 0}


@app.task
def add(a, b):
    return a + b


def receive():
    """As a worker does, until it has a task."""
    with app.amqp.TaskConsumer(channel, callbacks=[print]):
        connection.drain_events(timeout=3)


with app.connection_for_read() as connection:
    channel = connection.default_channel
    sent = [add.apply_async((i, 2), retry=False, ignore_result=True) for i in range(3)]
    assert channel.queue_declare("celery", passive=True).message_count == 3
    message = channel.basic_get("celery", no_ack=True)
    assert (message.headers["id"], message.decode()[0]) == (sent[0].id, [0, 2])
    assert app.control.purge() == 2
    lacks("workers", receive)
app.backend.store_result("id", 3, "SUCCESS")
assert app.AsyncResult("id").get(timeout=5) == 3
print("ok")
