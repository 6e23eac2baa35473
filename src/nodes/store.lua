-- Compare and store: the one way in which a record reaches a node. Atomic, and the same write again is harmless.
--
-- KEYS[1]  the user's key
-- ARGV[1]  head up to and with the version (17 bytes)
-- ARGV[2]  expiry (6 bytes) and value
-- ARGV[3]  own life: milliseconds that the record's own expiry asks the key to be kept
-- ARGV[4]  grace in milliseconds
-- ARGV[5]  optional: the version that must be held (12 bytes; zeros = nothing, or nothing of ours; empty = any)
-- ARGV[6]  optional: milliseconds of this node's own clock, after which nothing is stored any more
--
-- Returns  1                 applied: the node holds exactly this record, and keeps it as long as was asked
--          more than 1       applied, and kept for so many milliseconds, which is longer
--          0                 too late: nothing was done
--          20 bytes          stale: the node holds a newer record, or not the one that must be held; its version and
--                            replaced field
--          12 bytes          stale: the node holds a promise to a newer record; the promised version
--
-- Versions are compared as numbers of their three parts: Lua's `<` on strings follows the locale, and a whole version
-- does not fit a Lua number. Life is relative, so that a node whose clock is wrong neither keeps nor drops too early.

local key = KEYS[1]
local head = redis.call('GETRANGE', key, 0, 42)
local replaced = '\0\0\0\0\0\0\0\0'
local asked = tonumber(ARGV[3])
local life = asked

if ARGV[6] then
  local now = redis.call('TIME')
  if now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[6]) then return 0 end
end

local flags = #head >= 31 and string.sub(head, 1, 4) == '\255RD\1' and string.byte(head, 5)
local promised = flags and bit.band(flags, 16) ~= 0
local ours = flags and (not promised or #head == 43)

if ARGV[5] and ARGV[5] ~= '' and (ours and string.sub(head, 6, 17) or string.rep('\0', 12)) ~= ARGV[5] then
  return ours and string.sub(head, 6, 25) or string.rep('\0', 20)
end

if ours then
  local ms, count, who = struct.unpack('>I6I2I4', ARGV[1], 6)
  local heldMs, heldCount, heldWho = struct.unpack('>I6I2I4', head, 6)
  if heldMs > ms or (heldMs == ms and (heldCount > count or (heldCount == count and heldWho > who))) then
    return string.sub(head, 6, 25)
  end
  if heldMs == ms and heldCount == count and heldWho == who then
    -- The same version: applied if it is the same record, whatever it replaced here.
    local rest = redis.call('GETRANGE', key, promised and 43 or 31, -1)
    local new = string.byte(ARGV[1], 5)
    if flags % 16 ~= new % 16 or string.sub(head, 26, 31) .. rest ~= ARGV[2] then return string.sub(head, 6, 25) end
    local left = redis.call('PTTL', key)
    local lasting = bit.band(new, 32) ~= 0 and bit.band(flags, 32) == 0
    -- Longer where more is asked, never shorter. Before it sets, because a full node refuses a script that sets first.
    if left ~= -1 and (left < asked or lasting) then redis.call('PEXPIRE', key, math.max(left, asked)) end
    if lasting then redis.call('SETRANGE', key, 4, string.char(flags + 32)) end
    return left > asked and left or 1
  end
  if promised then
    local promMs, promCount, promWho = struct.unpack('>I6I2I4', head, 32)
    if promMs > ms or (promMs == ms and (promCount > count or (promCount == count and promWho > who))) then
      return string.sub(head, 32, 43)
    end
  end
  replaced = string.sub(head, 6, 13)
end

local grace = tonumber(ARGV[4])
local nothing = ours and flags % 16 == 2
local first = ARGV[1]
if life < grace then
  -- Whatever was here must not come back from a replica that missed this write: outlive it, up to the grace.
  local left = nothing and -2 or redis.call('PTTL', key)
  if left ~= -2 then
    if left == -1 or left > grace then left = grace end
    if left > life then life = left end
  end
  -- As long as any could have to: a lasting copy (core/lifetime.ts).
  if life >= grace - 60000 then
    first = string.sub(first, 1, 4) .. string.char(bit.bor(string.byte(first, 5), 32)) .. string.sub(first, 6)
  end
end

-- A full node refuses a script that sets, unless it has deleted first: so it can still delete.
if string.byte(ARGV[1], 5) % 16 == 1 then redis.call('DEL', key) end
redis.call('SET', key, first .. replaced .. ARGV[2], 'PX', life)
return life > asked and life or 1
