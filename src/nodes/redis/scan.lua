-- One page of the stored keys, each with the start of its value; of a collection that another program stored, with the
-- head that its record would have (core/codec.ts). A script, so that a page costs one call and not
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

local command = { 'SCAN', ARGV[1], 'COUNT', ARGV[2] }
if ARGV[4] then
  command[5] = 'MATCH'
  command[6] = ARGV[4]
end
local KINDS = { hash = '\3', set = '\4', zset = '\5', list = '\6', stream = '\7' }

-- Nil for a type that is not known, for internal keys, and where TYPE is forbidden.
local function headOf(key)
  local kind = KINDS[redis.pcall('TYPE', key).ok]
  local isInternal = string.sub(key, 1, 8) == '__rondo:' and not string.find(key, '^__rondo:db%d')
  return kind and not isInternal and '\255RD\1' .. kind .. string.rep('\0', 26)
end

local page = redis.call(unpack(command))
local answer = { page[1] }
for _, key in ipairs(page[2]) do
  local head = redis.pcall('GETRANGE', key, 0, ARGV[3])
  if type(head) == 'table' then
    if not string.find(head.err, 'WRONGTYPE', 1, true) then return head end
    head = headOf(key)
  end
  if head then
    answer[#answer + 1] = key
    answer[#answer + 1] = head
  end
end
return answer
