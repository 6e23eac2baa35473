"""aioredis 1: redis over asyncio, before it became a part of redis-py."""
import asyncio

import aioredis

from job import password, port


async def main():
    client = await aioredis.create_redis_pool(("127.0.0.1", port), password=password, db=2, minsize=1, maxsize=5)
    assert await client.set("text", "héllo", expire=100) is True
    assert await client.get("text", encoding="utf-8") == "héllo"
    assert 90 <= await client.ttl("text") <= 100
    assert await asyncio.gather(*[client.incr("count") for _ in range(200)]) is not None
    assert await client.get("count") == b"200"
    assert await client.mset({f"scan:{i}": i for i in range(100)}) is True
    found = [key async for key in client.iscan(match="scan:*", count=20)]
    assert sorted(found) == sorted(f"scan:{i}".encode() for i in range(100))
    assert await client.unlink(*found) == 100
    transaction = client.multi_exec()
    waiting = [transaction.set("{t}a", 1), transaction.incr("{t}a"), transaction.get("{t}a")]
    assert await transaction.execute() == [True, 2, b"2"]
    assert [await each for each in waiting] == [True, 2, b"2"]
    try:
        await client.incr("text")
        raise AssertionError("text was incremented")
    except aioredis.ReplyError as error:
        assert str(error) == "ERR value is not an integer or out of range", error
    assert await client.hmset_dict("hash", name="Ada", born=1815) is True
    assert await client.hgetall("hash", encoding="utf-8") == {"name": "Ada", "born": "1815"}
    assert await client.sadd("set", "a", "b", "a") == 2
    assert sorted(await client.smembers("set")) == [b"a", b"b"]
    assert await client.rpush("list", "a", "b", "a") == 3
    assert await client.lrange("list", 0, -1) == [b"a", b"b", b"a"]
    assert await client.eval("return 7") == 7
    client.close()
    await client.wait_closed()


asyncio.run(main())
print("ok")
