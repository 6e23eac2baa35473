-- Compare and store: the only way in which a record is written to a node. Atomic and idempotent. Takes several
-- independent records in one call: a script call costs more than its work for one of them.
--
-- KEYS     the users' keys; then the node's marker, where ARGV[4] is given
-- ARGV[1]  grace in milliseconds
-- ARGV[2]  the version that every key must hold (12 bytes; zeros = nothing, or not Rondo's; empty = any). With a 13th byte:
--          nothing, or what has no later version than this, and so is below a floor
-- ARGV[3]  milliseconds of this node's own clock, after which nothing is stored any more; empty = never
-- ARGV[4]  the first and the last epoch that the marker may name; empty = any
-- then, for each key:
--          head up to and with the version (17 bytes)
--          expiry (6 bytes) and value
--          own life: milliseconds to keep the key for the record's own expiry
--
-- Returns  1 when the node holds exactly these records, and keeps them as long as requested; otherwise, for each key:
--          'A'               applied, and kept as long as requested
--          'L' and 6 bytes   applied, and kept for so many milliseconds, which is longer
--          'S' and 20 bytes  stale: the node holds a newer record, or not the one that must be held; its version and
--                            replaced field
--          'P' and 12 bytes  stale: the node holds a promise to a newer record; the promised version
--          'W'               what the key holds may not be read
--          or 'T' alone      too late: nothing was done
--          or 'E' alone      the node has another epoch: nothing was done
--          An error means that nothing was stored: Redis refuses a script's first write, or none.
--
-- Versions are compared by their three parts as numbers: Lua's `<` on strings follows the locale, and a whole version
-- does not fit a Lua number. Lives are relative, so that a node with a wrong clock drops records neither early nor late.

local grace, onlyIf, keys = tonumber(ARGV[1]), ARGV[2], #KEYS
local results, plain = {}, true
-- The life of a value without expiry (core/lifetime.ts).
local FAR_END = '3153600000000'
local NOTHING, NO_EXPIRY = '\0\0\0\0\0\0\0\0\0\0\0\0', '\0\0\0\0\0\0'
local call, pcall, sub, byte, unpack = redis.call, redis.pcall, string.sub, string.byte, struct.unpack

local function meets(version, only)
  if #only == 12 then return version == only end
  local ms, count, who = unpack('>I6I2I4', version)
  local floorMs, floorCount, floorWho = unpack('>I6I2I4', only)
  return ms < floorMs or (ms == floorMs and (count < floorCount or (count == floorCount and who <= floorWho)))
end

if ARGV[3] ~= '' then
  local now = call('TIME')
  if now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[3]) then return 'T' end
end

-- Planned under other members: refused before anything is done.
if ARGV[4] ~= '' then
  local first, last = string.match(ARGV[4], '(%d+) (%d+)')
  local marked = tonumber(string.match(call('GET', KEYS[keys]) or '', '"topology":{.-"epoch":(%d+)') or 1)
  if marked < tonumber(first) or marked > tonumber(last) then return 'E' end
  keys = keys - 1
end

-- Numbers are passed to Redis as strings where possible: formatting them would cost more than everything else here.
for i = 1, keys do
  local key, first, rest, life = KEYS[i], ARGV[3 * i + 2], ARGV[3 * i + 3], ARGV[3 * i + 4]
  local head = pcall('GETRANGE', key, '0', '42')
  local result

  repeat
    -- What no Rondo has written, an impossible version and another type too, is a value at version zero (core/codec.ts).
    if type(head) == 'table' then
      if not string.find(head.err, 'WRONGTYPE', 1, true) then
        result = 'W'
        break
      end
      head = ''
    end
    local flags = #head >= 31 and sub(head, 1, 4) == '\255RD\1' and byte(head, 6) < 128
      and byte(head, 5)
    local promised = flags and flags % 32 >= 16
    local ours = flags and (not promised or (#head == 43 and byte(head, 32) < 128))

    if onlyIf ~= '' and not meets(ours and sub(head, 6, 17) or NOTHING, onlyIf) then
      result = 'S' .. (ours and sub(head, 6, 25) or string.rep('\0', 20))
      break
    end

    local replaced = '\0\0\0\0\0\0\0\0'
    if ours then
      local ms, count, who = unpack('>I6I2I4', first, 6)
      local heldMs, heldCount, heldWho = unpack('>I6I2I4', head, 6)
      if heldMs > ms or (heldMs == ms and (heldCount > count or (heldCount == count and heldWho > who))) then
        result = 'S' .. sub(head, 6, 25)
        break
      end
      if heldMs == ms and heldCount == count and heldWho == who then
        -- The same version: applied if it is the same record, whatever it replaced here.
        local held = call('GETRANGE', key, promised and '43' or '31', '-1')
        local new = byte(first, 5)
        if flags % 16 ~= new % 16 or sub(head, 26, 31) .. held ~= rest then
          result = 'S' .. sub(head, 6, 25)
          break
        end
        local left, asked = call('PTTL', key), tonumber(life)
        local lasting = bit.band(new, 32) ~= 0 and bit.band(flags, 32) == 0
        -- Extend the life if a longer one is requested; never shorten it. Before SET: a full node refuses a script that sets first.
        if left ~= -1 and (left < asked or lasting) then call('PEXPIRE', key, math.max(left, asked)) end
        if lasting then call('SETRANGE', key, 4, string.char(flags + 32)) end
        if left > asked then result = 'L' .. struct.pack('>I6', left) end
        break
      end
      if promised then
        local promMs, promCount, promWho = unpack('>I6I2I4', head, 32)
        if promMs > ms or (promMs == ms and (promCount > count or (promCount == count and promWho > who))) then
          result = 'P' .. sub(head, 32, 43)
          break
        end
      end
      replaced = sub(head, 6, 13)

      -- One value without expiry over another: the key's end stays as it is, which costs less than to set it again.
      if life == FAR_END and flags == 0 and sub(head, 26, 31) == NO_EXPIRY then
        call('SET', key, first .. replaced .. rest, 'KEEPTTL')
        break
      end
    end

    local asked = tonumber(life)
    if asked < grace then
      -- Whatever was here must not come back from a replica that missed this write: outlive it, up to the grace.
      local left = ours and flags % 16 == 2 and -2 or call('PTTL', key)
      if left == -1 or left > grace then left = grace end
      if left > asked then
        result = 'L' .. struct.pack('>I6', left)
        life = string.format('%.0f', left)
      end
      -- As long as any could have to: a lasting copy (core/lifetime.ts).
      if math.max(left, asked) >= grace - 60000 then
        first = sub(first, 1, 4) .. string.char(bit.bor(byte(first, 5), 32)) .. sub(first, 6)
      end
    end

    -- A full node refuses a script that sets, unless it has deleted first: so it can still delete.
    if byte(first, 5) % 16 == 1 then call('DEL', key) end
    call('SET', key, first .. replaced .. rest, 'PX', life)
  until true

  if result then plain = false end
  results[i] = result or 'A'
end
return plain and 1 or table.concat(results)
