-- Removes everything from a server that is to join, all its databases, if it still holds the expected marker. Its memory is
-- given back in the background.
--
-- KEYS[1]  the marker
-- ARGV[1]  1 = a marker is expected, 0 = none
-- ARGV[2]  the expected bytes
--
-- Returns  1 emptied, 0 it holds another marker

local held = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then
  if held ~= ARGV[2] then return 0 end
elseif held then
  return 0
end
redis.call('FLUSHALL', 'ASYNC')
return 1
