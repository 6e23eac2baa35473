-- Removes old records from a node before it is filled again, unless its marker has changed.
--
-- What Rondo did not write (no record, or version 0) stays: no other node has a copy to fill it from.
--
-- KEYS[1]  the marker
-- KEYS[2]  and so on: users' keys
-- ARGV[1]  the expected marker
-- ARGV[2]  milliseconds: records with an older version are removed
--
-- Returns  the number of removed keys, -1 = another marker

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local before = tonumber(ARGV[2])
local removed = 0
for i = 2, #KEYS do
  local head = redis.pcall('GETRANGE', KEYS[i], 0, 42) -- a table for a key of another type
  local flags = type(head) == 'string' and #head >= 31 and string.sub(head, 1, 4) == '\255RD\1' and string.byte(head, 6) < 128
  and string.byte(head, 5)
  if flags and (bit.band(flags, 16) == 0 or (#head == 43 and string.byte(head, 32) < 128)) then
    local ms = struct.unpack('>I6', head, 6)
    if ms > 0 and ms < before then removed = removed + redis.call('DEL', KEYS[i]) end
  end
end
return removed
