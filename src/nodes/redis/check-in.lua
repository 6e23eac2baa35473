-- Leaves a note that a coordinator is there, and returns those of all, if asked.
--
-- KEYS[1]  the marker
-- KEYS[2]  the notes: a hash from coordinator to time and note
-- ARGV[1]  the expected marker
-- ARGV[2]  the coordinator
-- ARGV[3]  its note
-- ARGV[4]  '1' = return the notes of all
-- ARGV[5]  milliseconds after which a note is removed
-- ARGV[6]  how many notes are kept; above it, the oldest are removed
--
-- Returns  0 another marker: nothing was changed; otherwise coordinator, milliseconds since its note, note, for each
--
-- Old notes are removed only when they are read, so a call without that costs the same however many there are.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A full node refuses a script that sets, unless it has deleted first.
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], string.format('%.0f %s', now, ARGV[3]))
if ARGV[4] ~= '1' then return {} end

local found, cursor = {}, '0'
repeat
  local page = redis.call('HSCAN', KEYS[2], cursor, 'COUNT', '1000')
  cursor = page[1]
  for i = 1, #page[2], 2 do
    local at, note = string.match(page[2][i + 1], '^(%d+) (.*)$')
    found[page[2][i]] = { id = page[2][i], at = tonumber(at) or 0, note = note or '' }
  end
until cursor == '0'

local notes = {}
for _, one in pairs(found) do notes[#notes + 1] = one end
table.sort(notes, function(a, b) return a.at > b.at or (a.at == b.at and a.id < b.id) end)
local answer = {}
for i, one in ipairs(notes) do
  local age = math.max(0, now - one.at)
  if i > tonumber(ARGV[6]) or age > tonumber(ARGV[5]) then
    redis.call('HDEL', KEYS[2], one.id)
  else
    answer[#answer + 1] = one.id
    answer[#answer + 1] = age
    answer[#answer + 1] = one.note
  end
end
return answer
