"""RQ: queues of jobs, as those see them who send jobs, what a worker does to get one, and the worker."""
from datetime import timedelta
from threading import Timer

from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue, SimpleWorker

from job import password, port


def refused(change):
    """It needs keys of several replica sets at once."""
    try:
        change()
    except ResponseError as error:
        assert "CROSSSLOT" in str(error)
    else:
        raise AssertionError("keys of several replica sets were changed together")


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
for i in range(3):
    queue.enqueue(print, i)
refused(queue.empty)
queue.delete(delete_jobs=False)

# The worker takes and does a job, but saves its result while it watches keys of several replica sets.
work = Queue("work", connection=connection)
jobs = [work.enqueue(pow, i, 2) for i in range(3)]
refused(lambda: work.enqueue(sum, [1, 2], depends_on=jobs))
assert SimpleWorker([work], connection=connection).work(burst=True, logging_level="CRITICAL")
assert ["CROSSSLOT" in job.exc_info for job in jobs] == [True] * 3
assert set(work.failed_job_registry.get_job_ids()) == {job.id for job in jobs}
print("lacks its worker and depends_on: WATCH over several replica sets")
work.delete(delete_jobs=False)
assert Queue.all(connection=connection) == []
print("ok")
