-- Moves a node's synced_at forward, unless the node has lost its data or was swapped meanwhile.
--
-- KEYS[1]  the marker
-- KEYS[2]  synced_at
-- ARGV[1]  the marker that is expected
-- ARGV[2]  the new synced_at: milliseconds, and what stands behind them (core/synced-at.ts)
--
-- Returns  1 it is as late as this, or later; 0 another marker is there

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local held = redis.call('GET', KEYS[2])
local heldMs = held and tonumber(string.match(held, '^%d+')) or -1
if tonumber(string.match(ARGV[2], '^%d+')) <= heldMs then return 1 end
-- A full node refuses a script that sets, unless it has deleted first; and a full node must not become stale by that.
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[2], ARGV[2])
return 1
