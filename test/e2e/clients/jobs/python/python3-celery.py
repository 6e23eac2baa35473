"""Celery: Rondo as the broker, and as the store of results."""
from threading import Timer

from celery import Celery

from job import password, port

app = Celery("tasks", broker=f"redis://:{password}@127.0.0.1:{port}/0", backend=f"redis://:{password}@127.0.0.1:{port}/1")
app.conf.broker_transport_options = {"max_retries": 1, "interval_start": 0}


@app.task
def add(a, b):
    return a + b


with app.connection_for_read() as connection:
    channel = connection.default_channel
    sent = [add.apply_async((i, 2), retry=False, ignore_result=True) for i in range(3)]
    assert channel.queue_declare("celery", passive=True).message_count == 3
    message = channel.basic_get("celery", no_ack=True)
    assert (message.headers["id"], message.decode()[0]) == (sent[0].id, [0, 2])
    assert app.control.purge() == 2
    # As a worker does, which waits.
    received = []
    Timer(0.3, lambda: add.apply_async((40, 2), retry=False, ignore_result=True)).start()
    with app.amqp.TaskConsumer(channel, callbacks=[lambda body, message: (received.append(body), message.ack())]):
        connection.drain_events(timeout=5)
    assert received[0][0] == [40, 2]
app.backend.store_result("id", 3, "SUCCESS")
assert app.AsyncResult("id").get(timeout=5) == 3
print("ok")
