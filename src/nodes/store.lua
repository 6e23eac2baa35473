-- Compare and store: the one way in which a record reaches a node. Atomic, and the same write again is harmless.
--
-- KEYS[1]  the user's key
-- ARGV[1]  head up to and with the version (17 bytes)
-- ARGV[2]  expiry (6 bytes) and value
-- ARGV[3]  own life: milliseconds that the record's own expiry asks the key to be kept
-- ARGV[4]  grace in milliseconds
-- ARGV[5]  optional: the version that must be held (12 bytes; zeros = nothing, or nothing of ours)
--
-- Returns  1                 applied: the node holds exactly this record
--          20 bytes          stale: the node holds a newer record (or a promise to one), or not the one that must be
--                            held; its version and replaced field
--
-- Versions are compared as numbers of their three parts: Lua's `<` on strings follows the locale, and a whole version
-- does not fit a Lua number. Life is relative, so that a node whose clock is wrong neither keeps nor drops too early.

local key = KEYS[1]
local head = redis.call('GETRANGE', key, 0, 42)
local replaced = '\0\0\0\0\0\0\0\0'
local life = tonumber(ARGV[3])

local flags = #head >= 31 and string.sub(head, 1, 4) == '\255RD\1' and string.byte(head, 5)
local promised = flags and bit.band(flags, 16) ~= 0
local ours = flags and (not promised or #head == 43)

if ARGV[5] and (ours and string.sub(head, 6, 17) or string.rep('\0', 12)) ~= ARGV[5] then
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
    if flags % 16 == string.byte(ARGV[1], 5) and string.sub(head, 26, 31) .. rest == ARGV[2] then return 1 end
    return string.sub(head, 6, 25)
  end
  if promised then
    local promMs, promCount, promWho = struct.unpack('>I6I2I4', head, 32)
    if promMs > ms or (promMs == ms and (promCount > count or (promCount == count and promWho > who))) then
      return string.sub(head, 32, 43) .. string.sub(head, 18, 25)
    end
  end
  replaced = string.sub(head, 6, 13)
end

local grace = tonumber(ARGV[4])
local nothing = ours and flags % 16 == 2
if life < grace and not nothing then
  -- Whatever was here must not come back from a replica that missed this write: outlive it, up to the grace.
  local left = redis.call('PTTL', key)
  if left ~= -2 then
    if left == -1 or left > grace then left = grace end
    if left > life then life = left end
  end
end

-- A full node refuses a script that sets, unless it has deleted first: so it can still delete.
if string.byte(ARGV[1], 5) == 1 then redis.call('DEL', key) end
redis.call('SET', key, ARGV[1] .. replaced .. ARGV[2], 'PX', life)
return 1
