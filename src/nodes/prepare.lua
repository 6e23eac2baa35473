-- First round of a two-round write: promise to refuse every write below the ballot, and tell what is held.
--
-- KEYS[1]  the key
-- ARGV[1]  ballot, a version (12 bytes)
--
-- Returns  {1, record or false}     promised; the record as it was
--          {0, newest version}      refused: a promise or a record at least as new is here
--
-- The promise is kept in the record itself (bit 4 of the flags, 12 bytes after the head), so it is lost only together
-- with the record, and never expires by itself.

local function newer(a, at, b, bt)
  local ams, ac, aw = struct.unpack('>I6I2I4', a, at)
  local bms, bc, bw = struct.unpack('>I6I2I4', b, bt)
  return ams > bms or (ams == bms and (ac > bc or (ac == bc and aw > bw)))
end

local held = redis.call('GET', KEYS[1])
local ballot = ARGV[1]

local flags = held and #held >= 31 and string.sub(held, 1, 4) == '\255RD\1' and string.byte(held, 5)
local hasPromise = flags and bit.band(flags, 16) ~= 0

if flags and (not hasPromise or #held >= 43) then
  local rest = 32
  if hasPromise then
    if newer(held, 32, ballot, 1) then return {0, string.sub(held, 32, 43)} end
    rest = 44
  end
  if not newer(ballot, 1, held, 6) then return {0, string.sub(held, 6, 17)} end
  local promised = string.sub(held, 1, 4) .. string.char(flags % 16 + 16) .. string.sub(held, 6, 31) .. ballot
  redis.call('SET', KEYS[1], promised .. string.sub(held, rest), 'KEEPTTL')
elseif held then
  -- A value at version 0: give it a head that keeps it readable.
  local zero = string.rep('\0', 26)
  redis.call('SET', KEYS[1], '\255RD\1\16' .. zero .. ballot .. held, 'KEEPTTL')
else
  redis.call('SET', KEYS[1], '\255RD\1\18' .. string.rep('\0', 26) .. ballot)
end
return {1, held}
