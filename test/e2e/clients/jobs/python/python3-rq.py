"""RQ: queues of jobs."""
from redis import Redis
from rq import Queue

from job import lacks, password, port

lacks("queues", lambda: Queue(connection=Redis(port=port, password=password)).enqueue(print, "hello"))
print("ok")
