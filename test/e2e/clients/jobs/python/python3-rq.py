"""RQ: queues of jobs, as those see them who send jobs, and what a worker does to get one."""
from datetime import timedelta
from threading import Timer

from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue

from job import lacks, password, port

connection = Redis(port=port, password=password)
queue = Queue("mail", connection=connection)
jobs = [queue.enqueue(print, f"hello {i}", job_timeout=60) for i in range(4)]
assert queue.job_ids == [job.id for job in jobs]
assert Queue.all(connection=connection) == [queue]
found = queue.fetch_job(jobs[1].id)
assert (found.func, found.args, found.timeout, found.get_status()) == (print, ("hello 1",), 60, "queued")
jobs[1].delete()
assert queue.fetch_job(jobs[1].id) is None
queue.remove(jobs[2])
first, _ = Queue.dequeue_any([queue], None, connection=connection)
assert first == jobs[0]
assert queue.job_ids == [jobs[3].id]
second, _ = Queue.dequeue_any([queue], 1, connection=connection)
assert second == jobs[3]
Timer(0.3, lambda: queue.enqueue(print, "late")).start()
late, _ = Queue.dequeue_any([Queue("urgent", connection=connection), queue], 5, connection=connection)
assert late.args == ("late",)
later = queue.enqueue_in(timedelta(minutes=1), print, "later")
assert queue.scheduled_job_registry.get_job_ids() == [later.id]
try:
    queue.empty()
    raise AssertionError("keys of several replica sets were changed together")
except ResponseError as error:
    assert "CROSSSLOT" in str(error)
queue.delete(delete_jobs=False)
assert Queue.all(connection=connection) == []
print("ok")
