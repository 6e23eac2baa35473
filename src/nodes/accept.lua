-- Second round of a two-round write: store the record where the promise to its version still stands.
--
-- KEYS[1]  the key
-- ARGV[1]  head up to and with the version (17 bytes); the version is the ballot
-- ARGV[2]  expiry (6 bytes) and value
-- ARGV[3]  own life: milliseconds that the record's own expiry asks the key to be kept; 0 = without an end
-- ARGV[4]  grace in milliseconds
--
-- Returns  1           stored, or stored already
--          20 bytes    refused: promised to another ballot, or replaced; the promise or version held, and its replaced
--                      field

local key = KEYS[1]
local held = redis.call('GETRANGE', key, 0, 42)
local ballot = string.sub(ARGV[1], 6, 17)
local flags = #held >= 31 and string.sub(held, 1, 4) == '\255RD\1' and string.byte(held, 5)
local promised = flags and bit.band(flags, 16) ~= 0

if not flags or (promised and #held < 43) then return string.rep('\0', 20) end
if not promised then
  -- No promise: a newer write took its place, or this very record did.
  if string.sub(held, 6, 17) == ballot then return 1 end
  return string.sub(held, 6, 25)
end
if string.sub(held, 32, 43) ~= ballot then return string.sub(held, 32, 43) .. string.sub(held, 18, 25) end

local life, grace = tonumber(ARGV[3]), tonumber(ARGV[4])
local record = ARGV[1] .. string.sub(held, 6, 13) .. ARGV[2]
if life == 0 then
  redis.call('SET', key, record)
  return 1
end
-- A key that was made by the promise alone replaces nothing that could come back.
if life < grace and flags % 16 ~= 2 then
  local left = redis.call('PTTL', key)
  if left == -1 or left > grace then left = grace end
  if left > life then life = left end
end
if string.byte(ARGV[1], 5) == 1 then redis.call('DEL', key) end
redis.call('SET', key, record, 'PX', life)
return 1
