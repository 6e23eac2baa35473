-- Records that a node missed a version of a key, in this node's hash of hints for it. The hash has no TTL: an evicted or
-- expired hint would be an unknown missed write.
--
-- KEYS[1]  the hash of hints for that node
-- ARGV[1]  the user's key
-- ARGV[2]  the version (12 bytes)
-- ARGV[3]  limit of hints in the hash
--
-- Returns  1 recorded, 0 the hash is full

if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
