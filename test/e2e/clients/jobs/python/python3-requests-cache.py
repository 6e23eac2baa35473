"""requests-cache: requests to web sites, answered from the cache."""
import requests_cache
from requests_cache.backends.redis import RedisCache

from job import lacks, password, port
from web import Web

with Web("max-age=60") as web:
    session = requests_cache.CachedSession("http", backend=RedisCache("http", host="127.0.0.1", port=port, password=password))
    lacks("requests", lambda: [session.get(web.url) for _ in range(2)])
print("ok")
