-- Second round of a two-round write: store the record where the promise to its version still stands.
--
-- KEYS[1]  the key
-- KEYS[2]  the node's marker, where ARGV[5] is given
-- ARGV[1]  head up to and with the version (17 bytes); the version is the ballot
-- ARGV[2]  expiry (6 bytes) and value
-- ARGV[3]  own life: milliseconds to keep the key for the record's own expiry; 0 = without an end
-- ARGV[4]  grace in milliseconds
-- ARGV[5]  the first and the last epoch that the marker may name; empty or absent = any
--
-- Returns  1           stored, or stored already, and kept as long as requested
--          more than 1 the same, and kept for so many milliseconds, which is longer
--          12 bytes    refused: promised to another ballot, which is returned
--          20 bytes    refused: replaced, or never promised; version and replaced field of what is held
--          'E'         refused: the node has another epoch

-- Planned under other members: refused before anything is done.
if ARGV[5] and ARGV[5] ~= '' then
  local first, last = string.match(ARGV[5], '(%d+) (%d+)')
  local marked = tonumber(string.match(redis.call('GET', KEYS[2]) or '', '"topology":{.-"epoch":(%d+)') or 1)
  if marked < tonumber(first) or marked > tonumber(last) then return 'E' end
end

local key = KEYS[1]
local held = redis.pcall('GETRANGE', key, 0, 42)
if type(held) == 'table' then
  if not string.find(held.err, 'WRONGTYPE', 1, true) then return held end
  held = '' -- never promised
end
local ballot = string.sub(ARGV[1], 6, 17)
local flags = #held >= 31 and string.sub(held, 1, 4) == '\255RD\1' and string.byte(held, 6) < 128
  and string.byte(held, 5)
local promised = flags and bit.band(flags, 16) ~= 0
local asked, grace, new = tonumber(ARGV[3]), tonumber(ARGV[4]), string.byte(ARGV[1], 5)

if not flags or (promised and (#held < 43 or string.byte(held, 32) > 127)) then return string.rep('\0', 20) end
if not promised then
  -- No promise: a newer write has replaced it, or this very record.
  if string.sub(held, 6, 17) ~= ballot then return string.sub(held, 6, 25) end
  if asked == 0 then return 1 end
  local left = redis.call('PTTL', key)
  local lasting = bit.band(new, 32) ~= 0 and bit.band(flags, 32) == 0
  if left ~= -1 and (left < asked or lasting) then redis.call('PEXPIRE', key, math.max(left, asked)) end
  if lasting then redis.call('SETRANGE', key, 4, string.char(flags + 32)) end
  return left > asked and left or 1
end
if string.sub(held, 32, 43) ~= ballot then return string.sub(held, 32, 43) end

local first, rest, life = ARGV[1], string.sub(held, 6, 13) .. ARGV[2], asked
if life == 0 then
  redis.call('SET', key, first .. rest)
  return 1
end
if life < grace then
  -- A key with only the promise replaces nothing that could come back.
  if flags % 16 ~= 2 then
    local left = redis.call('PTTL', key)
    if left == -1 or left > grace then left = grace end
    if left > life then life = left end
  end
  -- As long as any could have to: a lasting copy (core/lifetime.ts).
  if life >= grace - 60000 then
    first = string.sub(first, 1, 4) .. string.char(bit.bor(new, 32)) .. string.sub(first, 6)
  end
end
if new % 16 == 1 then redis.call('DEL', key) end
redis.call('SET', key, first .. rest, 'PX', life)
return life > asked and life or 1
