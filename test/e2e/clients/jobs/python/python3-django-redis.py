"""Django's cache framework and its sessions over django-redis, with the settings that its documentation shows."""
import django
from django.conf import settings

from job import kill_others, password, port

settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://:{password}@127.0.0.1:{port}/1",
            "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
        }
    },
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SECRET_KEY="not secret",
)
django.setup()

from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import cache
from django_redis import get_redis_connection

assert cache.set("user", {"name": "Ada", "tags": ["x", "é"]}, timeout=60) is True
assert cache.get("user") == {"name": "Ada", "tags": ["x", "é"]}
assert 50 <= cache.ttl("user") <= 60
assert cache.get("nobody", "default") == "default"
assert cache.add("user", "other") is False
assert cache.add("new", "first") is True
assert cache.set("for ever", 1, timeout=None) is True and cache.ttl("for ever") is None
assert cache.touch("for ever", 30) is True and 20 <= cache.ttl("for ever") <= 30
assert cache.persist("for ever") == 1 and cache.ttl("for ever") is None
assert cache.get_or_set("computed", lambda: 42, 100) == 42
assert cache.get_or_set("computed", lambda: 43, 100) == 42
assert cache.has_key("new") and "new" in cache and not cache.has_key("old")
assert cache.delete("new") == 1

many = {f"many:{i}": i for i in range(100)}
cache.set_many(many, timeout=100)
assert cache.get_many([*many, "missing"]) == many
assert cache.delete_many(["many:0", "many:1"]) == 2
assert sorted(cache.keys("many:*")) == sorted(f"many:{i}" for i in range(2, 100))
assert sorted(cache.iter_keys("many:*")) == sorted(cache.keys("many:*"))
assert cache.delete_pattern("many:*") == 98
assert cache.keys("many:*") == []

cache.set("count", 1, timeout=100)
assert cache.incr("count") == 2
assert cache.decr("count", 5) == -3
assert 90 <= cache.ttl("count") <= 100
try:
    cache.incr("no count")
    raise AssertionError("what is not there was counted")
except ValueError:
    pass

assert cache.set("versioned", "old", version=1) and cache.incr_version("versioned") == 2
assert cache.get("versioned", version=2) == "old" and cache.get("versioned", version=1) is None

# The plain client: database 1, and Django's names of keys.
connection = get_redis_connection("default")
assert connection.get(":1:for ever") == b"1"
assert connection.connection_pool.connection_kwargs["db"] == 1

with_lock = cache.lock("lock", timeout=10)
assert with_lock.acquire() is True
assert cache.lock("lock", timeout=10).acquire(blocking=False) is False
with_lock.release()
assert cache.lock("lock", timeout=10).acquire(blocking=False) is True

session = SessionStore()
session["user"] = "ada"
session.create()
assert SessionStore(session.session_key)["user"] == "ada"
session.cycle_key()
session.flush()
assert not SessionStore().exists(session.session_key)

# Rondo, or a proxy between, closes connections: the library connects again.
kill_others(connection.client())
assert cache.get("for ever") == 1

cache.clear()
assert cache.get("for ever") is None and connection.dbsize() == 0
print("ok")
