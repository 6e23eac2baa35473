"""cachelib's RedisCache, with a prefix and without."""
from cachelib import RedisCache

from job import password, port

cache = RedisCache(port=port, password=password, key_prefix="site:", default_timeout=100)
plain = RedisCache(port=port, password=password)
assert cache.set("user", {"name": "Ada"}) is True
assert cache.get("user") == {"name": "Ada"} and plain.get("user") is None
assert 90 <= plain._read_client.ttl("site:user") <= 100
assert cache.set("for ever", "x", timeout=0) is True and plain._read_client.ttl("site:for ever") == -1
assert cache.add("user", "other") is False and cache.add("new", 1) is True
many = {f"many:{i}": i for i in range(50)}
assert cache.set_many(many) == list(many)
assert cache.get_many(*many) == list(many.values())
assert cache.get_dict("many:1", "none") == {"many:1": 1, "none": None}
assert cache.delete_many(*many) == [f"site:{key}" for key in many]
assert cache.inc("count", 5) == 5 and cache.dec("count", 7) == -2
assert cache.has("new") and cache.delete("new") and not cache.has("new")
plain.set("other", 1)
assert cache.clear() is True and cache.get("user") is None
assert plain.get("other") == 1
assert plain.clear() is True and plain.get("other") is None
print("ok")
