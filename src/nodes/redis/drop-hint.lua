-- Removes a hint that was delivered, unless a newer miss was noted since.
--
-- The version is condition enough, without the marker: what it tells of has reached its target, whoever noted it, and if
-- the target has lost it since, that one is filled from everybody and needs no hint.
--
-- KEYS[1]  the hash of hints
-- ARGV[1]  the user's key
-- ARGV[2]  the version that was delivered (12 bytes)
--
-- Returns  1 removed, 0 something else is noted

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
