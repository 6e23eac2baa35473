-- First round of a two-round write: promise to refuse every write below the ballot, and return what is held.
--
-- KEYS[1]  the key
-- ARGV[1]  ballot, a version (12 bytes)
-- ARGV[2]  milliseconds to keep a key without a record for its promise; 0 = without an end
--
-- Returns  '+' and the record as it was     promised
--          '0'                              promised, and nothing was held
--          '-' and the newest version       refused: a promise or a record at least as new is here
--
-- The promise is stored in the record itself (bit 4 of the flags, 12 bytes after the head), so it is lost only together
-- with the record, and never expires before it. Bits 5 and 6 stay as they are: the life of the key does.

local function newer(a, at, b, bt)
  local ams, ac, aw = struct.unpack('>I6I2I4', a, at)
  local bms, bc, bw = struct.unpack('>I6I2I4', b, bt)
  return ams > bms or (ams == bms and (ac > bc or (ac == bc and aw > bw)))
end

local key, ballot = KEYS[1], ARGV[1]
local held = redis.call('GET', key)

if not held then
  local nothing = '\255RD\1\18' .. string.rep('\0', 26) .. ballot
  if ARGV[2] == '0' then redis.call('SET', key, nothing) else redis.call('SET', key, nothing, 'PX', ARGV[2]) end
  return '0'
end

local flags = #held >= 31 and string.sub(held, 1, 4) == '\255RD\1' and string.byte(held, 6) < 128
  and string.byte(held, 5)
local hasPromise = flags and bit.band(flags, 16) ~= 0
if not flags or (hasPromise and (#held < 43 or string.byte(held, 32) > 127)) then
  -- A value at version 0: give it a head that keeps it readable.
  redis.call('SET', key, '\255RD\1\16' .. string.rep('\0', 26) .. ballot .. held, 'KEEPTTL')
  return '+' .. held
end
if hasPromise and newer(held, 32, ballot, 1) then return '-' .. string.sub(held, 32, 43) end
if not newer(ballot, 1, held, 6) then return '-' .. string.sub(held, 6, 17) end
local promised = string.sub(held, 1, 4) .. string.char(flags % 16 + 16 + bit.band(flags, 96)) .. string.sub(held, 6, 31) .. ballot
redis.call('SET', key, promised .. string.sub(held, hasPromise and 44 or 32), 'KEEPTTL')
return '+' .. held
