-- Compare-and-set of the marker.
--
-- KEYS[1]  the marker
-- KEYS[2]  the topology that it names
-- ARGV[1]  '1' if the key must hold ARGV[2], '0' if it must be absent
-- ARGV[2]  the expected bytes
-- ARGV[3]  the new bytes
-- ARGV[4]  the new topology, if there is one
--
-- Returns  1 done, 0 the key holds something else

local found = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then
  if found ~= ARGV[2] then return 0 end
elseif found then
  return 0
end
-- A full node refuses a script that sets, unless it has deleted first.
redis.call('DEL', KEYS[1])
if ARGV[4] then redis.call('SET', KEYS[2], ARGV[4]) end
redis.call('SET', KEYS[1], ARGV[3])
return 1
