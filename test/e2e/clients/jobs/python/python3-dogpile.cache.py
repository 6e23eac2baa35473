"""dogpile.cache: functions that are cached, and one worker that makes a value for all."""
import redis
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

from job import password, port

arguments = {"host": "127.0.0.1", "port": port, "password": password, "redis_expiration_time": 7200}
region = make_region().configure("dogpile.cache.redis", expiration_time=3600, arguments=arguments)
worked = []


@region.cache_on_arguments()
def user(name):
    worked.append(name)
    return {"name": name}


assert [user("ada"), user("ada"), user("bob")] == [{"name": "ada"}, {"name": "ada"}, {"name": "bob"}]
assert worked == ["ada", "bob"]
user.invalidate("ada")
assert user("ada") == {"name": "ada"} and worked == ["ada", "bob", "ada"]
user.set("other", "cleo")
assert user("cleo") == "other"


@region.cache_multi_on_arguments(namespace="m")
def squares(*numbers):
    worked.append(numbers)
    return [number * number for number in numbers]


assert squares(1, 2, 3) == [1, 4, 9] and squares(2, 3, 4) == [4, 9, 16]
assert worked[3:] == [(1, 2, 3), (4,)]

region.set_multi({f"many:{i}": i for i in range(50)})
assert region.get_multi([f"many:{i}" for i in range(50)]) == list(range(50))
assert 7190 <= redis.Redis(port=port, password=password).ttl("many:1") <= 7200
region.delete_multi([f"many:{i}" for i in range(50)])
assert region.get("many:1") is NO_VALUE

# By default the workers of one process agree among themselves; those of several need redis-py's lock.
several = {**arguments, "distributed_lock": True, "thread_local_lock": False, "lock_timeout": 10}
distributed = make_region().configure("dogpile.cache.redis", arguments=several)
assert distributed.get_or_create("new", lambda: 1) == 1
print("ok")
