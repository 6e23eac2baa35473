"""Writes and reads until its standard input ends, while nodes fail; then prints what it found, as JSON."""
import json
import sys
import threading
import time

import redis

client = redis.Redis(port=int(sys.argv[1]), socket_timeout=10)
stopped = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()

KEYS = 25
found = {"done": 0, "wrong": [], "errors": [], "slowestMs": 0}
may = {f"py:{i}": {None} for i in range(KEYS)}


def timed(act):
    started = time.monotonic()
    try:
        return act()
    finally:
        found["done"] += 1
        found["slowestMs"] = max(found["slowestMs"], (time.monotonic() - started) * 1000)


def read(key):
    try:
        value = timed(lambda: client.get(key))
    except redis.RedisError as error:
        found["errors"].append(str(error))
        return
    if value not in may[key]:
        found["wrong"].append(f"{key} is {value!r} instead of {may[key]!r}")


n = 0
while not stopped.is_set():
    n += 1
    key, value = f"py:{n % KEYS}", str(n).encode()
    try:
        timed(lambda: client.set(key, value))
        may[key] = {value}
    except redis.RedisError as error:
        found["errors"].append(str(error))
        if not str(error).startswith("NOREPLICAS"):
            may[key].add(value)
    read(key)
    if n % 200 == 0:
        print("...", flush=True)
for key in may:
    read(key)
print(json.dumps(found))
