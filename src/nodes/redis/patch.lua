-- Changes some bytes of a stored record: what store.lua does with a whole record that differs from the held one in these
-- alone, without moving the others through Lua. Only where that is simple: both are values without expiry, of the same kind
-- and length, and nothing is promised.
--
-- KEYS[1]  the user's key
-- KEYS[2]  the node's marker
-- then     keys that are only checked
-- ARGV[1]  the first and the last epoch that the marker may name; empty = any
-- ARGV[2]  the head up to and with the version that must be held (17 bytes)
-- ARGV[3]  the number of bytes that must be held, head included
-- ARGV[4]  the new version (12 bytes), which is later
-- then     for each checked key the version that it must hold (12 bytes)
-- then, for each edit:
--          where it begins, counted from the first byte of the head
--          bytes
--
-- Returns  1    the node holds exactly the new record; the key's end stays as it is
--          0    something else is held, or too much is to be compared: nothing was changed, and the whole has to be sent
--          'E'  the node has another epoch: nothing was changed

-- Planned under other members: refused before anything is done.
if ARGV[1] ~= '' then
  local first, last = string.match(ARGV[1], '(%d+) (%d+)')
  local marked = tonumber(string.match(redis.call('GET', KEYS[2]) or '', '"topology":{.-"epoch":(%d+)') or 1)
  if marked < tonumber(first) or marked > tonumber(last) then return 'E' end
end

-- Numbers are passed to Redis as strings: formatting them would cost more than everything else here.
local key, sub, call, pcall = KEYS[1], string.sub, redis.call, redis.pcall
local head = pcall('GETRANGE', key, '0', '30')
if type(head) == 'table' or sub(head, 1, 17) ~= ARGV[2] or sub(head, 26, 31) ~= '\0\0\0\0\0\0' then return 0 end
if call('STRLEN', key) ~= tonumber(ARGV[3]) then return 0 end

local at = 5
for i = 3, #KEYS do
  local other = pcall('GETRANGE', KEYS[i], '0', '16')
  if type(other) == 'table' or sub(other, 1, 4) ~= '\255RD\1' or sub(other, 6, 17) ~= ARGV[at] then return 0 end
  at = at + 1
end

-- The version, and milliseconds and counter of the one that it replaces.
call('SETRANGE', key, '5', ARGV[4] .. sub(head, 6, 13))
for i = at, #ARGV, 2 do call('SETRANGE', key, ARGV[i], ARGV[i + 1]) end
return 1
