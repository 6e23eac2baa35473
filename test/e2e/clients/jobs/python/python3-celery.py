"""Celery: Rondo as the broker, and as the store of results."""
from celery import Celery

from job import lacks, password, port

app = Celery("tasks", broker=f"redis://:{password}@127.0.0.1:{port}/0", backend=f"redis://:{password}@127.0.0.1:{port}/1")
app.conf.broker_transport_options = {"max_retries": 1, "interval_start": 0}


@app.task
def add(a, b):
    return a + b


lacks("the broker", lambda: add.apply_async((1, 2), retry=False, ignore_result=True))
lacks("the store of results", lambda: app.backend.store_result("id", 3, "SUCCESS"))
print("ok")
