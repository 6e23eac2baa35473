-- Reads a stored value without sending all of it: its head, its length, and a range of its bytes, atomically.
--
-- KEYS[1]  the key
-- ARGV[1]  the first requested byte of the user's value, negative = counted from its end; empty = none
-- ARGV[2]  the last one
--
-- Returns  nil when nothing is stored; otherwise
--          6 bytes          the number of stored bytes, including the record's head
--          up to 43 bytes   the first ones: the head, a promise, or less if less is stored
--          the rest         the bytes of the range, if any
--
-- An empty string stored by another program has no bytes either, hence EXISTS.

local key, first, last = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local head = redis.pcall('GETRANGE', key, '0', '42')
if type(head) == 'table' then return head end
local stored = redis.call('STRLEN', key)
if stored == 0 and redis.call('EXISTS', key) == 0 then return false end

local part = ''
if first then
  local flags = #head >= 31 and string.sub(head, 1, 4) == '\255RD\1' and string.byte(head, 6) < 128
  and string.byte(head, 5)
  local promised = flags and bit.band(flags, 16) ~= 0
  local at = 0
  if flags and not promised then at = 31 elseif flags and #head == 43 and string.byte(head, 32) < 128 then at = 43 end
  local length = stored - at
  if first < 0 then first = math.max(length + first, 0) end
  if last < 0 then last = math.max(length + last, 0) end
  if first <= last then
    part = redis.call('GETRANGE', key, string.format('%.0f', at + first), string.format('%.0f', at + last))
  end
end
return struct.pack('>I6', stored) .. head .. part
