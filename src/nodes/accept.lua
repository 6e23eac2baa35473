-- Second round of a two-round write: store the record where the promise still stands.
--
-- KEYS[1]  the key
-- ARGV[1]  head up to and with the version (17 bytes); the version is the ballot
-- ARGV[2]  expiry (6 bytes) and value
--
-- Returns  {1, false}               stored
--          {0, newest version}      refused: promised to a newer ballot, or a record at least as new is here

local held = redis.call('GETRANGE', KEYS[1], 0, 42)
local ballot = string.sub(ARGV[1], 6, 17)
local flags = #held >= 31 and string.sub(held, 1, 4) == '\255RD\1' and string.byte(held, 5)
local promised = flags and bit.band(flags, 16) ~= 0
if not promised or #held < 43 then
  -- No promise: it was lost, or a newer write took its place.
  if not flags or promised then return {0, string.rep('\0', 12)} end
  if string.sub(held, 6, 17) == ballot then return {1, false} end
  return {0, string.sub(held, 6, 17)}
end
if string.sub(held, 32, 43) ~= ballot then return {0, string.sub(held, 32, 43)} end
redis.call('SET', KEYS[1], ARGV[1] .. string.sub(held, 6, 13) .. ARGV[2])
return {1, false}
