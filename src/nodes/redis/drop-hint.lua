-- Removes a delivered hint, unless a newer miss was recorded since.
--
-- The version suffices as a condition, without the marker: this version has reached its target, and if the target has
-- lost it since, the target is filled from all others and needs no hint.
--
-- KEYS[1]  the hash of hints
-- ARGV[1]  the user's key
-- ARGV[2]  the version that was delivered (12 bytes)
--
-- Returns  1 removed, 0 another version is recorded

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
