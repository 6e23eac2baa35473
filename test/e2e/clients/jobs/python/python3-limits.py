"""limits (and Flask-Limiter over it): rates of requests."""
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

from job import password, port

storage = storage_from_string(f"redis://:{password}@127.0.0.1:{port}")
assert storage.check() is True
limit = parse("3/minute")
for limiter, name in (FixedWindowRateLimiter(storage), "fixed"), (MovingWindowRateLimiter(storage), "moving"):
    assert [limiter.hit(limit, name) for _ in range(4)] == [True, True, True, False]
    assert limiter.test(limit, name) is False and limiter.hit(limit, f"other {name}") is True
print("ok")
