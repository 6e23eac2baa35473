-- Moves a node's synced_at forward, unless the node has lost its data or was swapped meanwhile.
--
-- KEYS[1]  the marker
-- KEYS[2]  synced_at
-- ARGV[1]  the expected marker
-- ARGV[2]  the new synced_at: milliseconds, and its suffix (core/synced-at.ts)
--
-- Returns  1 synced_at is at least as late as this; 0 = another marker

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local held = redis.call('GET', KEYS[2])
local heldMs = held and tonumber(string.match(held, '^%d+')) or -1
if tonumber(string.match(ARGV[2], '^%d+')) <= heldMs then return 1 end
-- A full node refuses a script that sets, unless it has deleted first; and that must not make it stale.
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[2], ARGV[2])
return 1
