-- Removes what is below the floors of a flush from one page of all keys, unless the node's marker has changed. A promise
-- stays, without the record that held it: the update that asked for it may still come.
--
-- KEYS[1]  the marker
-- ARGV[1]  the expected marker
-- ARGV[2]  the cursor, '0' starts
-- ARGV[3]  approximate number of keys to scan
-- ARGV[4]  milliseconds to keep a key that has only a promise
-- then two for each floor:
--          the database that it is of; empty = all
--          the version (12 bytes): what has no later one is removed, values that Rondo did not write too
--
-- Returns  cursor ('0' = last page) and the number of removed records; nil under another marker
--
-- The node blocks meanwhile: the caller must limit ARGV[3].

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local call, pcall, sub, byte, unpack = redis.call, redis.pcall, string.sub, string.byte, struct.unpack

local function isBelow(version, floor)
  local ms, count, who = unpack('>I6I2I4', version)
  local floorMs, floorCount, floorWho = unpack('>I6I2I4', floor)
  return ms < floorMs or (ms == floorMs and (count < floorCount or (count == floorCount and who <= floorWho)))
end

-- The number of the database as text; nil for internal keys, and for what outlives flushes (core/keys.ts). A part of a large
-- collection (core/part-keys.ts) is of the collection's database.
local function databaseOf(key)
  if #key > 52 and sub(key, 1, 15) == '__rondo:db9998:' then key = sub(key, 53) end
  if sub(key, 1, 8) ~= '__rondo:' then return '0' end
  if string.find(key, '^__rondo:db9999:script:') or string.find(key, '^__rondo:db9999:9999:') then return nil end
  if key == '__rondo:db9999:libraries' then return nil end
  return string.match(key, '^__rondo:db([1-9]%d?%d?%d?):')
end

local page = call('SCAN', ARGV[2], 'COUNT', ARGV[3])
local dropped = 0
for _, key in ipairs(page[2]) do
  local database = databaseOf(key)
  local head = database and pcall('GETRANGE', key, '0', '42')
  if type(head) == 'table' then
    if not string.find(head.err, 'WRONGTYPE', 1, true) then return head end
    head = '' -- of another program, of whatever type
  end
  if head then
    local flags = #head >= 31 and sub(head, 1, 4) == '\255RD\1' and byte(head, 6) < 128 and byte(head, 5)
    local promised = flags and flags % 32 >= 16
    local ours = flags and (not promised or (#head == 43 and byte(head, 32) < 128))
    local version = ours and sub(head, 6, 17) or string.rep('\0', 12)
    local below = false
    for i = 5, #ARGV, 2 do
      below = below or ((ARGV[i] == '' or ARGV[i] == database) and isBelow(version, ARGV[i + 1]))
    end
    -- What only holds a promise ends by itself.
    if below and not (ours and flags % 16 == 2) then
      if ours and promised then
        call('SET', key, '\255RD\1\18' .. string.rep('\0', 26) .. sub(head, 32, 43), 'PX', ARGV[4])
      else
        call('DEL', key)
      end
      dropped = dropped + 1
    end
  end
end
return { page[1], dropped }
