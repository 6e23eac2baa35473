-- One page of the stored string keys, each with the start of its value. A script, so that a page costs one call and not
-- two more per key, and so that key and head are read atomically.
--
-- KEYS     none: SCAN finds the keys. A plain Redis allows that; a Redis Cluster would not.
-- ARGV[1]  the cursor, '0' starts
-- ARGV[2]  approximate number of keys to scan
-- ARGV[3]  the last byte of the head to return, counted from 0
-- ARGV[4]  optional: a glob that the keys must match
--
-- Returns  cursor ('0' = last page), key, head, key, head, …
--
-- It only reads, so SCAN may be called although it is not deterministic. The node blocks meanwhile: the caller must
-- limit ARGV[2].

local command = { 'SCAN', ARGV[1], 'COUNT', ARGV[2], 'TYPE', 'string' }
if ARGV[4] then
  command[7] = 'MATCH'
  command[8] = ARGV[4]
end
local page = redis.call(unpack(command))
local answer = { page[1] }
for _, key in ipairs(page[2]) do
  answer[#answer + 1] = key
  answer[#answer + 1] = redis.call('GETRANGE', key, 0, ARGV[3])
end
return answer
