-- Removes a copy that no longer belongs on this node, unless it has changed since, or the node lost its data and may
-- have received the copy again.
--
-- What was promised on it goes with it where the marker names an epoch: whoever counts on that promise was planned under
-- an earlier one, and no answer of this node counts for it any more. Without an epoch nothing keeps it from counting.
--
-- KEYS[1]  the marker
-- KEYS[2]  the user's key
-- ARGV[1]  the marker under which the work started
-- ARGV[2]  the version that may be removed (12 bytes)
--
-- Returns  1 removed, 0 there is another version, a promise that may count, or another marker

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local head = redis.pcall('GETRANGE', KEYS[2], 0, 30)
if type(head) == 'table' or #head < 31 then return 0 end
if string.sub(head, 1, 4) ~= '\255RD\1' or string.byte(head, 6) > 127 then return 0 end
if bit.band(string.byte(head, 5), 16) ~= 0 and not string.find(ARGV[1], '"topology":{', 1, true) then return 0 end
if string.sub(head, 6, 17) ~= ARGV[2] then return 0 end
return redis.call('DEL', KEYS[2])
