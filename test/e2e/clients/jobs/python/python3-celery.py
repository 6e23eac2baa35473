"""Celery: Rondo as the broker, and as the store of results; with a worker as users start it."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Timer

from job import password, port

# The program of the application, which the worker loads as well.
TASKS = f"""
from celery import Celery

url = "redis://:{password}@127.0.0.1:{port}"
app = Celery("tasks", broker=f"{{url}}/0", backend=f"{{url}}/1")
app.conf.broker_transport_options = {{"max_retries": 1, "interval_start": 0}}


@app.task
def add(a, b):
    return a + b


@app.task(bind=True, max_retries=1)
def second_time(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task
def total(numbers):
    return sum(numbers)
"""
folder = tempfile.TemporaryDirectory()
Path(folder.name, "tasks.py").write_text(TASKS)
sys.path.insert(0, folder.name)
from celery import chain, chord, group  # noqa: E402
from tasks import add, app, second_time, total  # noqa: E402

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

results = [add.delay(i, 2) for i in range(30)]
command = [sys.executable, "-B", "-m", "celery", "-A", "tasks", "worker", "--pool", "solo", "--concurrency", "1"]
log = open(Path(folder.name, "log"), "w+")
worker = subprocess.Popen(command, cwd=folder.name, stdout=log, stderr=log, env={**os.environ, "C_FORCE_ROOT": "1"})
try:
    assert [result.get(timeout=15) for result in results] == [i + 2 for i in range(30)]
    assert add.apply_async((40, 2), countdown=0.3).get(timeout=10) == 42
    assert second_time.delay().get(timeout=10) == 1
    assert chain(add.s(1, 2), add.s(3))().get(timeout=10) == 6
    assert group(add.s(i, i) for i in range(3))().get(timeout=10) == [0, 2, 4]
    assert chord([add.s(i, i) for i in range(3)])(total.s()).get(timeout=10) == 6
    failed = add.delay(1, None)
    assert isinstance(failed.get(timeout=10, propagate=False), TypeError)
    assert app.control.ping(timeout=0.5) != []
except BaseException:
    log.seek(0)
    print(log.read(), file=sys.stderr)
    raise
finally:
    worker.terminate()
    worker.wait(timeout=10)
results[0].forget()
assert app.backend.get(app.backend.get_key_for_task(results[0].id)) is None
print("ok")
