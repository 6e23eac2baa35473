"""requests-cache: requests to web sites, answered from the cache; where a site redirects to is in a hash."""
import requests_cache
from requests_cache.backends.redis import RedisCache

from job import password, port
from web import Web

with Web("max-age=60") as web:
    backend = RedisCache("http", host="127.0.0.1", port=port, password=password)
    session = requests_cache.CachedSession("http", backend=backend, cache_control=True)
    answers = [session.get(web.url) for _ in range(3)]
    assert [answer.text for answer in answers] == ["answer 1"] * 3
    assert [answer.from_cache for answer in answers] == [False, True, True]
    assert web.asked == 1

    # A redirect is followed once, and then it is known.
    moved = [session.get(web.url + "moved", expire_after=60) for _ in range(2)]
    assert [answer.text for answer in moved] == ["answer 1"] * 2
    assert [answer.from_cache for answer in moved] == [True, True]
    assert web.asked == 1

    key = answers[1].cache_key
    assert session.cache.contains(key)
    session.cache.delete(key)
    assert not session.cache.contains(key)
    assert session.get(web.url).text == "answer 2"
    session.cache.clear()
    assert session.get(web.url).text == "answer 3"
print("ok")
