-- Finds the commands of the scripts and of the control path that the user of this connection may not use. Changes nothing.
--
-- KEYS[1]  a key that is never written
-- KEYS[2]  the marker
--
-- Returns  the names of the commands that are forbidden, or that the server lacks
--
-- A script has the permissions of its user. What a server refuses for another reason (full, read-only) is not forbidden:
-- permissions are checked first.

local key, marker = KEYS[1], KEYS[2]
local tries = {
  { 'GET', key },
  { 'GETRANGE', key, '0', '0' },
  { 'STRLEN', key },
  { 'EXISTS', key },
  { 'STRLEN', key },
  { 'EXISTS', key },
  { 'SET', key, '1', 'XX' },
  { 'SETRANGE', key, '0', '' },
  { 'DEL', key },
  { 'PTTL', key },
  { 'PEXPIRE', key, '1' },
  { 'HLEN', key },
  { 'HGET', key, 'f' },
  { 'HEXISTS', key, 'f' },
  { 'HDEL', key, 'f' },
  { 'HSCAN', key, '0' },
  { 'TIME' },
  { 'SCAN', '0', 'COUNT', '1' },
}
-- An error without effect on a string key. Without a marker, the next check decides.
if type(redis.pcall('GET', marker)) == 'string' then tries[#tries + 1] = { 'HSET', marker, 'f', 'v' } end

local forbidden = {}
for _, command in ipairs(tries) do
  local answer = redis.pcall(unpack(command))
  local why = type(answer) == 'table' and answer.err or ''
  if
    string.find(why, 'NOPERM', 1, true)
    or string.find(why, "can't run this command", 1, true)
    or string.find(string.lower(why), 'unknown %a* ?command')
  then
    forbidden[#forbidden + 1] = command[1]
  end
end
return forbidden
