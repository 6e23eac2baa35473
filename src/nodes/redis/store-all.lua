-- Stores several keys atomically, all or none: for each of them, what store.lua does with a condition, or accept.lua.
--
-- KEYS     the users' keys, then the node's marker
-- ARGV[1]  grace in milliseconds
-- ARGV[2]  'held': each key must hold a version; 'promised': it must be promised to it
-- ARGV[3]  the first and the last epoch that the marker may name; empty = any
-- then four for each key:
--          head up to and with the version (17 bytes); empty = the key is only checked
--          expiry (6 bytes) and value
--          own life: milliseconds to keep the key for the record's own expiry
--          the version that must be held (12 bytes; zeros = nothing, or not Rondo's; with a 13th byte: as in store.lua),
--          or promised: then it is the record's own
--
-- Returns  '+' and for each key, separated by spaces, how many milliseconds it is kept; 0 = it was only checked
--          '-' and for each key a length byte and so many bytes: none if the condition is met, else 20 (version and
--          replaced field of what is held) or 12 (the promised version): nothing was changed
--          'E' if the node has another epoch: nothing was changed
--
-- Everything is checked before anything is changed. A full node refuses a script's first write if it needs memory, but
-- none after a write: so values are set first, and tombstones, which delete before they set, after them.

-- Planned under other members: refused before anything is done.
if ARGV[3] ~= '' then
  local first, last = string.match(ARGV[3], '(%d+) (%d+)')
  local marked = tonumber(string.match(redis.call('GET', KEYS[#KEYS]) or '', '"topology":{.-"epoch":(%d+)') or 1)
  if marked < tonumber(first) or marked > tonumber(last) then return 'E' end
end

local grace, promises = tonumber(ARGV[1]), ARGV[2] == 'promised'
local ZEROS, NO_EXPIRY = string.rep('\0', 20), string.rep('\0', 6)
-- The life of a value without expiry (core/lifetime.ts).
local FAR_END = '3153600000000'
local plan, kept, refusals, refused = {}, {}, {}, false

local function newer(a, at, b, bt)
  local ams, ac, aw = struct.unpack('>I6I2I4', a, at)
  local bms, bc, bw = struct.unpack('>I6I2I4', b, bt)
  return ams > bms or (ams == bms and (ac > bc or (ac == bc and aw > bw)))
end

local function meets(version, only)
  return version == only or (#only == 13 and not newer(version, 1, only, 1))
end

-- What is held instead, or false if the condition is met; and whether this very record is stored already.
local function refusal(key, held, flags, promise, version, first, rest, only)
  if promises then
    if promise then return promise ~= only and promise end
    if first ~= '' and flags and version == only then return false, true end
    return flags and string.sub(held, 6, 25) or ZEROS
  end
  if not meets(version, only) then return flags and string.sub(held, 6, 25) or ZEROS end
  if first == '' or not flags then return false end
  if newer(held, 6, first, 6) then return string.sub(held, 6, 25) end
  if version == string.sub(first, 6, 17) then
    local kind = flags % 16 == string.byte(first, 5) % 16
    local same = kind and string.sub(held, 26, 31) .. redis.call('GETRANGE', key, promise and 43 or 31, -1) == rest
    return not same and string.sub(held, 6, 25), true
  end
  return promise and newer(promise, 1, first, 6) and promise
end

for i = 1, #KEYS - 1 do
  local key = KEYS[i]
  local first, rest, asked, only = unpack(ARGV, 4 * i, 4 * i + 3)
  local held = redis.pcall('GETRANGE', key, 0, 42)
  if type(held) == 'table' then
    if not string.find(held.err, 'WRONGTYPE', 1, true) then return held end
    held = '' -- not Rondo's
  end
  local flags = #held >= 31 and string.sub(held, 1, 4) == '\255RD\1' and string.byte(held, 6) < 128
  and string.byte(held, 5)
  local promise = flags and bit.band(flags, 16) ~= 0 and string.sub(held, 32, 43)
  if promise and (#promise < 12 or string.byte(promise) > 127) then flags, promise = false, false end
  local version = flags and string.sub(held, 6, 17) or string.rep('\0', 12)

  local why, again = refusal(key, held, flags, promise, version, first, rest, only)
  refusals[i] = why and string.char(#why) .. why or '\0'
  refused = refused or why
  kept[i] = '0'
  if not why and first ~= '' then
    local life, new = tonumber(asked), string.byte(first, 5)
    local left = redis.call('PTTL', key)
    if again then
      local lasting = bit.band(new, 32) ~= 0 and bit.band(flags, 32) == 0
      -- Extend the life if a longer one is requested; never shorten it.
      local longer = left ~= -1 and (left < life or lasting)
      life = math.max(left, life)
      plan[#plan + 1] = { key = key, life = longer and life, flags = lasting and flags + 32 }
    else
      if life < grace then
        -- Whatever was here must not come back from a replica that missed this write: outlive it, up to the grace.
        if left ~= -2 and not (flags and flags % 16 == 2) then
          if left == -1 or left > grace then left = grace end
          if left > life then life = left end
        end
        -- As long as any could have to: a lasting copy (core/lifetime.ts).
        if life >= grace - 60000 then
          first = string.sub(first, 1, 4) .. string.char(bit.bor(new, 32)) .. string.sub(first, 6)
        end
      end
      -- One value without expiry over another: the key's end stays as it is.
      local keep = asked == FAR_END and flags == 0 and string.sub(held, 26, 31) == NO_EXPIRY
      local replaced = flags and string.sub(held, 6, 13) or string.sub(ZEROS, 1, 8)
      plan[#plan + 1] = { key = key, life = life, bytes = first .. replaced .. rest, keep = keep, tombstone = new % 16 == 1 }
    end
    kept[i] = string.format('%.0f', life)
  end
end

if refused then return '-' .. table.concat(refusals) end

for _, step in ipairs(plan) do
  if step.keep then
    redis.call('SET', step.key, step.bytes, 'KEEPTTL')
  elseif step.bytes and not step.tombstone then
    redis.call('SET', step.key, step.bytes, 'PX', step.life)
  end
end
for _, step in ipairs(plan) do
  if step.tombstone then
    redis.call('DEL', step.key)
    redis.call('SET', step.key, step.bytes, 'PX', step.life)
  elseif not step.bytes then
    if step.life then redis.call('PEXPIRE', step.key, step.life) end
    if step.flags then redis.call('SETRANGE', step.key, 4, string.char(step.flags)) end
  end
end
return '+' .. table.concat(kept, ' ')
