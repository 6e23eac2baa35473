-- First round of two-round writes: promise to refuse every write below a ballot, and return what is held. Takes several
-- independent keys in one call: a script call costs more than its work for one of them.
--
-- KEYS     the keys
-- ARGV[1]  milliseconds to keep a key without a record for its promise; 0 = without an end
-- then, for each key, its ballot, a version (12 bytes)
--
-- Returns, for a key by itself as it is, for several in an array:
--          '+' and the record as it was     promised
--          '0'                              promised, and nothing was held
--          '-' and the newest version       refused: a promise or a record at least as new is here
--          'W'                              the key holds another type
--          'M'                              left alone: it has read 1 MiB for the keys before it
--          An error means that nothing was promised: Redis refuses a script's first write, or none.
--
-- The promise is stored in the record itself (bit 4 of the flags, 12 bytes after the head), so it is lost only together
-- with the record, and never expires before it. Bits 5 and 6 stay as they are: the life of the key does.

local call, pcall, sub, byte, unpack = redis.call, redis.pcall, string.sub, string.byte, struct.unpack
local life, left, results = ARGV[1], 1048576, {}

-- Without functions and constants of its own: to make them anew in each call would cost more than a key.
for i = 1, #KEYS do
  local key, ballot, result = KEYS[i], ARGV[i + 1]

  repeat
    if left <= 0 then
      result = 'M'
      break
    end
    local held = pcall('GET', key)
    if not held then
      local nothing = '\255RD\1\18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' .. ballot
      if life == '0' then call('SET', key, nothing) else call('SET', key, nothing, 'PX', life) end
      result = '0'
      break
    end
    if type(held) == 'table' then
      result = 'W'
      break
    end
    left = left - #held

    local flags = #held >= 31 and sub(held, 1, 4) == '\255RD\1' and byte(held, 6) < 128 and byte(held, 5)
    local hasPromise = flags and flags % 32 >= 16
    if not flags or (hasPromise and (#held < 43 or byte(held, 32) > 127)) then
      -- A value at version 0: give it a head that keeps it readable.
      call('SET', key, '\255RD\1\16\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' .. ballot .. held, 'KEEPTTL')
      result = '+' .. held
      break
    end

    local ms, count, who = unpack('>I6I2I4', ballot)
    if hasPromise then
      local promMs, promCount, promWho = unpack('>I6I2I4', held, 32)
      if promMs > ms or (promMs == ms and (promCount > count or (promCount == count and promWho > who))) then
        result = '-' .. sub(held, 32, 43)
        break
      end
    end
    local heldMs, heldCount, heldWho = unpack('>I6I2I4', held, 6)
    if heldMs > ms or (heldMs == ms and (heldCount > count or (heldCount == count and heldWho >= who))) then
      result = '-' .. sub(held, 6, 17)
      break
    end

    local first = sub(held, 1, 4) .. string.char(flags % 16 + 16 + bit.band(flags, 96)) .. sub(held, 6, 31)
    call('SET', key, first .. ballot .. sub(held, hasPromise and 44 or 32), 'KEEPTTL')
    result = '+' .. held
  until true

  results[i] = result
end
-- An array costs Redis more than a string.
return #KEYS == 1 and results[1] or results
