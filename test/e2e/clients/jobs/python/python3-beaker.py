"""Beaker: its cache, which locks while a value is made, and its sessions."""
from beaker.cache import CacheManager
from beaker.session import Session

from job import password, port

url = f"redis://:{password}@127.0.0.1:{port}/1"
caches = CacheManager(type="ext:redis", url=url, expire=100)
worked = []


@caches.cache("users")
def user(name):
    worked.append(name)
    return {"name": name}


assert [user("ada"), user("ada"), user("bob")] == [{"name": "ada"}, {"name": "ada"}, {"name": "bob"}]
assert worked == ["ada", "bob"]
caches.invalidate(user, "users", "ada")
assert user("ada") == {"name": "ada"} and worked == ["ada", "bob", "ada"]

cache = caches.get_cache("plain")
cache.put("a", [1, 2])
assert cache.get("a") == [1, 2] and "a" in cache and "b" not in cache
assert cache.get("b", createfunc=lambda: "made") == "made"
cache.clear()
assert "a" not in cache and user("bob") == {"name": "bob"} and len(worked) == 3

session = Session({}, type="ext:redis", url=url, timeout=600)
session["user"] = "ada"
session.save()
again = Session({}, id=session.id, type="ext:redis", url=url, timeout=600)
assert again["user"] == "ada"
again["count"] = 2
again.save()
assert Session({}, id=session.id, type="ext:redis", url=url, timeout=600)["count"] == 2
print("ok")
