"""Django's sessions over django-redis-sessions."""
import django
import redis
from django.conf import settings

from job import password, port

settings.configure(
    SESSION_ENGINE="redis_sessions.session",
    SESSION_REDIS={"host": "127.0.0.1", "port": port, "password": password, "db": 0, "prefix": "session"},
    SECRET_KEY="not secret",
)
django.setup()

from redis_sessions.session import SessionStore

session = SessionStore()
session["user"] = "ada"
session.set_expiry(600)
session.save()
key = session.session_key
assert SessionStore(key)["user"] == "ada"
assert 590 <= redis.Redis(port=port, password=password).ttl(f"session:{key}") <= 600
session["count"] = 2
session.save()
assert SessionStore(key)["count"] == 2
session.delete()
assert SessionStore(key).get("user") is None
assert redis.Redis(port=port, password=password).keys() == []
print("ok")
