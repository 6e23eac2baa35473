-- A lease: taken if free, renewed by its owner. Keeps two workers from doing the same work; nothing relies on it.
--
-- KEYS[1]  the lease
-- ARGV[1]  the owner
-- ARGV[2]  milliseconds
--
-- Returns  1 taken or renewed, 0 held by another owner

local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
