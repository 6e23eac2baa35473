"""RQ: queues of jobs."""
from redis import Redis
from rq import Queue

from job import lacks, port

lacks("queues", lambda: Queue(connection=Redis(port=port)).enqueue(print, "hello"))
print("ok")
