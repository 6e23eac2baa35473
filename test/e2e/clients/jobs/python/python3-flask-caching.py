"""Flask-Caching: views and functions that are cached in Redis."""
from flask import Flask
from flask_caching import Cache

from job import password, port

app = Flask("site")
app.config.update(CACHE_TYPE="RedisCache", CACHE_REDIS_URL=f"redis://:{password}@127.0.0.1:{port}/0", CACHE_DEFAULT_TIMEOUT=100)
cache = Cache(app)
worked = []


@app.route("/<name>")
@cache.cached()
def page(name):
    worked.append(name)
    return f"Hello, {name}."


@cache.memoize(50)
def add(a, b):
    worked.append((a, b))
    return a + b


visitor = app.test_client()
assert [visitor.get("/ada").text for _ in range(3)] == ["Hello, ada."] * 3
assert visitor.get("/bob").text == "Hello, bob."
assert worked == ["ada", "bob"], worked

with app.app_context():
    assert [add(1, 2), add(1, 2), add(2, 2)] == [3, 3, 4]
    assert worked[2:] == [(1, 2), (2, 2)]
    cache.delete_memoized(add, 1, 2)
    assert [add(1, 2), add(2, 2)] == [3, 4] and worked[4:] == [(1, 2)]
    cache.delete_memoized(add)
    assert add(2, 2) == 4 and worked[5:] == [(2, 2)]
    assert cache.set_many({"a": 1, "b": [2]}) == ["a", "b"] and cache.get_many("a", "b") == [1, [2]]
    assert cache.get_dict("a", "none") == {"a": 1, "none": None}
    assert cache.add("a", 2) is False and cache.delete_many("a", "b") == ["a", "b"]
    cache.set("c", "x")
    assert cache.unlink("c") == 1 and cache.has("c") is False
    assert cache.clear() is True

assert visitor.get("/ada").text == "Hello, ada." and worked[6:] == ["ada"]
print("ok")
