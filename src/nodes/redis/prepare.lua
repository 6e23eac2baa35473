-- First round of two-round writes: promise to refuse every write below a ballot, and return what is held. Takes several
-- independent keys in one call: a script call costs more than its work for one of them.
--
-- KEYS     the keys
-- ARGV[1]  milliseconds to keep a key without a record for its promise; 0 = without an end
-- ARGV[2]  bytes: when it has read so many, the keys that follow are left alone
-- then, for each key, its ballot, a version (12 bytes)
--
-- Returns, for each key:
--          '+' and the record as it was     promised
--          '0'                              promised, and nothing was held
--          '-' and the newest version       refused: a promise or a record at least as new is here
--          'W'                              the key holds another type
--          'M'                              left alone
--          An error means that nothing was promised: Redis refuses a script's first write, or none.
--
-- The promise is stored in the record itself (bit 4 of the flags, 12 bytes after the head), so it is lost only together
-- with the record, and never expires before it. Bits 5 and 6 stay as they are: the life of the key does.

local life, left = ARGV[1], tonumber(ARGV[2])
local call, pcall, sub, byte, unpack = redis.call, redis.pcall, string.sub, string.byte, struct.unpack
local NOTHING, VALUE = '\255RD\1\18' .. string.rep('\0', 26), '\255RD\1\16' .. string.rep('\0', 26)
local results = {}

local function newer(a, at, b, bt)
  local ams, ac, aw = unpack('>I6I2I4', a, at)
  local bms, bc, bw = unpack('>I6I2I4', b, bt)
  return ams > bms or (ams == bms and (ac > bc or (ac == bc and aw > bw)))
end

local function prepare(key, ballot)
  local held = pcall('GET', key)
  if not held then
    if life == '0' then call('SET', key, NOTHING .. ballot) else call('SET', key, NOTHING .. ballot, 'PX', life) end
    return '0'
  end
  if type(held) == 'table' then return 'W' end
  left = left - #held

  local flags = #held >= 31 and sub(held, 1, 4) == '\255RD\1' and byte(held, 6) < 128 and byte(held, 5)
  local hasPromise = flags and flags % 32 >= 16
  if not flags or (hasPromise and (#held < 43 or byte(held, 32) > 127)) then
    -- A value at version 0: give it a head that keeps it readable.
    call('SET', key, VALUE .. ballot .. held, 'KEEPTTL')
    return '+' .. held
  end
  if hasPromise and newer(held, 32, ballot, 1) then return '-' .. sub(held, 32, 43) end
  if not newer(ballot, 1, held, 6) then return '-' .. sub(held, 6, 17) end
  local first = sub(held, 1, 4) .. string.char(flags % 16 + 16 + bit.band(flags, 96)) .. sub(held, 6, 31)
  call('SET', key, first .. ballot .. sub(held, hasPromise and 44 or 32), 'KEEPTTL')
  return '+' .. held
end

for i = 1, #KEYS do
  results[i] = left > 0 and prepare(KEYS[i], ARGV[i + 2]) or 'M'
end
return results
