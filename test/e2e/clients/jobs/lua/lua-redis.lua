-- redis-lua, in plain Lua.
local redis = require 'redis'

local function same(expected, found)
  if expected ~= found then error(('expected %s, found %s'):format(expected, found), 2) end
end

local client = redis.connect('127.0.0.1', tonumber(arg[1]))
client:auth(arg[2])
client:select(1)
same(true, client:set('text', 'hello'))
same('hello', client:get('text'))
same(true, client:expire('text', 100))
same(true, client:ttl('text') >= 90 and client:ttl('text') <= 100)
same(false, client:setnx('text', 'other'))
same(nil, client:get('nothing'))
client:mset('a', '1', 'b', '2')
same('1,2', table.concat(client:mget('a', 'b'), ','))
same(6, client:incrby('a', 5))
same(3, client:del('a', 'b', 'text'))

local replies, count = client:pipeline(function(pipe)
  for i = 1, 300 do pipe:set('p:' .. i, i) end
  pipe:get('p:300')
end)
same(301, count)
same('300', replies[301])
local found = client:keys('p:*')
same(300, #found)
same(300, client:del(unpack(found)))

-- A transaction that watches: somebody else is faster, and it tries once more.
local other, tries = redis.connect('127.0.0.1', tonumber(arg[1])), 0
other:auth(arg[2])
other:select(1)
client:set('{t}a', '1')
local options = { watch = '{t}a', cas = true, retry = 2 }
client:transaction(options, function(t)
  local old = tonumber(t:get('{t}a'))
  tries = tries + 1
  if tries == 1 then other:set('{t}a', '40') end
  t:multi()
  t:set('{t}a', old + 1)
end)
same(2, tries)
same('41', client:get('{t}a'))

client:set('text', 'x')
local done, message = pcall(client.incr, client, 'text')
same(false, done)
same(true, message:find('ERR value is not an integer or out of range', 1, true) ~= nil)
same(true, client:hmset('hash', { name = 'Ada', born = 1815 }))
local person = client:hgetall('hash')
same('Ada 1815', person.name .. ' ' .. person.born)
same(2, client:sadd('set', 'a', 'b', 'a'))
local members = client:smembers('set')
table.sort(members)
same('a,b', table.concat(members, ','))
same(3, client:rpush('list', 'a', 'b', 'a'))
same('a,b,a', table.concat(client:lrange('list', 0, -1), ','))
same(7, client:eval('return 7', 0))
client:flushdb()
same(0, client:dbsize())
print('ok')
