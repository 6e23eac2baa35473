"""The work of an ordinary user of redis-py, against Rondo. It prints `ok`, or fails with what it found."""
import sys

import redis

from job import password, port

cross_set = sys.argv[3] if len(sys.argv) > 3 else "unordered"
client = redis.Redis(port=port, password=password)

# Values, bytes, ends.
raw = bytes(range(256))
assert client.set(raw, raw, ex=100) is True
assert client.get(raw) == raw
assert 90 <= client.ttl(raw) <= 100
assert client.set("nx", "1", nx=True) is True
assert client.set("nx", "2", nx=True) is None
assert client.getdel("nx") == b"1"
assert client.incrbyfloat("f", 0.1) == 0.1
assert client.append("text", "abc") == 3
assert client.setrange("text", 1, "XY") == 3
assert client.getrange("text", 0, -1) == b"aXY"
assert client.delete(raw, "f", "text") == 3

# Scanning finds every key once.
client.mset({f"scan:{i}": i for i in range(200)})
found = sorted(client.scan_iter(match="scan:*", count=50))
assert found == sorted(f"scan:{i}".encode() for i in range(200)), found
assert client.delete(*found) == 200

# A pipeline is a transaction, unless it is told not to be one.
with client.pipeline() as pipe:
    assert pipe.set("{t}a", 1).incr("{t}a").get("{t}a").rename("{t}a", "{t}b").mget("{t}a", "{t}b").execute() == [
        True, 2, b"2", True, [None, b"2"]
    ]
with client.pipeline(transaction=False) as pipe:
    for i in range(500):
        pipe.set(f"p:{i}", i)
    assert pipe.execute() == [True] * 500
assert client.mget([f"p:{i}" for i in range(500)]) == [str(i).encode() for i in range(500)]

# Optimistic locking: somebody else was faster, and the second try counts.
tries = 0


def increment(pipe):
    global tries
    tries += 1
    count = int(pipe.get("{t}b"))
    if tries == 1:
        client.set("{t}b", 40)
    pipe.multi()
    pipe.set("{t}b", count + 1)


assert client.transaction(increment, "{t}b") == [True]
assert tries == 2 and client.get("{t}b") == b"41"

# Over keys of different replica sets it is refused, not done without the lock.
def transfer(pipe):
    count = int(pipe.get("{t}b"))
    pipe.multi()
    pipe.set("{t}b", count + 1)
    for i in range(20):
        pipe.set(f"audit:{i}", count)


try:
    client.transaction(transfer, "{t}b")
    raise AssertionError("keys of different replica sets were changed after WATCH")
except redis.ResponseError as error:
    assert str(error).startswith("CROSSSLOT ") and "{hash tag}" in str(error), error
assert client.get("{t}b") == b"41"
assert client.exists(*[f"audit:{i}" for i in range(20)]) == 0

# Keys of different replica sets in one transaction.
pipe = client.pipeline()
for i in range(50):
    pipe.set(f"spread:{i}", i)
if cross_set == "unordered":
    assert pipe.execute() == [True] * 50
    assert client.mget([f"spread:{i}" for i in range(50)]) == [str(i).encode() for i in range(50)]
    client.delete(*[f"spread:{i}" for i in range(50)])
else:
    try:
        pipe.execute()
        raise AssertionError("keys of different replica sets were changed together")
    except redis.ResponseError as error:
        assert str(error).startswith("CROSSSLOT "), error
        assert "RESP_CROSS_SET_MULTI" in str(error), error
    assert client.exists(*[f"spread:{i}" for i in range(50)]) == 0

# Hashes, sets and lists.
assert client.hset("hash", mapping={"name": "Ada", "born": 1815}) == 2
assert client.hgetall("hash") == {b"name": b"Ada", b"born": b"1815"}
assert client.sadd("set", "a", "b", "a") == 2
assert client.smembers("set") == {b"a", b"b"}
assert client.rpush("list", "a", "b", "a") == 3
assert client.lrange("list", 0, -1) == [b"a", b"b", b"a"]

# Errors are the library's own.
client.set("text", "x")
try:
    client.incr("text")
    raise AssertionError("text was incremented")
except redis.ResponseError as error:
    assert str(error) == "value is not an integer or out of range", error

# Subscriptions to channels and patterns.
pubsub = client.pubsub(ignore_subscribe_messages=True)
pubsub.subscribe("news")
pubsub.psubscribe("n?ws")
while client.publish("news", b"\xff\r\n") < 2:
    pass
heard = []
while len(heard) < 2:
    message = pubsub.get_message(timeout=5)
    if message:
        heard.append((message["type"], message["channel"], message["data"]))
assert heard[0] == ("message", b"news", b"\xff\r\n"), heard
assert heard[1][0] in ("message", "pmessage"), heard
assert client.pubsub_channels() == [b"news"]
pubsub.close()

# Locks: a plain one, and as the library makes it.
assert client.set("lock", "me", nx=True, px=10_000) is True
assert client.set("lock", "you", nx=True, px=10_000) is None
lock = client.lock("library", timeout=10)
assert lock.acquire() is True
assert client.lock("library", timeout=10).acquire(blocking=False) is False
lock.extend(5)
lock.release()
assert client.exists("library") == 0

print("ok")
