"""limits (and Flask-Limiter over it): rates of requests."""
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

from job import lacks, password, port

storage = storage_from_string(f"redis://:{password}@127.0.0.1:{port}")
assert storage.check() is True
limit = parse("3/minute")
lacks("fixed windows", lambda: FixedWindowRateLimiter(storage).hit(limit, "ada"))
lacks("moving windows", lambda: MovingWindowRateLimiter(storage).hit(limit, "ada"))
print("ok")
