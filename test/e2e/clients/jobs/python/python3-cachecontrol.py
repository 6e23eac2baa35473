"""CacheControl: requests to web sites, answered from the cache while they are fresh."""
import redis
import requests
from cachecontrol import CacheControl
from cachecontrol.caches.redis_cache import RedisCache

from job import password, port
from web import Web

client = redis.Redis(port=port, password=password)
with Web("max-age=60") as web:
    session = CacheControl(requests.Session(), cache=RedisCache(client))
    assert [session.get(web.url).text for _ in range(3)] == ["answer 1"] * 3
    assert web.asked == 1
    assert 1 <= len(client.keys("http*"))
    RedisCache(client).clear()
    assert session.get(web.url).text == "answer 2"
print("ok")
