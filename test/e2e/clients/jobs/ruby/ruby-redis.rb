# redis-rb.
require_relative 'job'
require 'redis'

Redis.silence_deprecations = true
redis = Redis.new(url: "redis://:#{PASSWORD}@127.0.0.1:#{PORT}/1")
same 'OK', redis.set('text', 'héllo', ex: 100)
same 'héllo', redis.get('text').force_encoding('UTF-8')
same true, (90..100).cover?(redis.ttl('text'))
same false, redis.set('text', 'other', nx: true)
same true, redis.setnx('new', '1')
same 2, redis.del('text', 'new')
raw = (0..255).to_a.pack('C*')
redis.set(raw, raw)
same raw, redis.get(raw).b
same 'OK', redis.mapped_mset('a' => '1', 'b' => '2')
same({ 'a' => '1', 'b' => '2', 'none' => nil }, redis.mapped_mget('a', 'b', 'none'))
same 6, redis.incrby('a', 5)
same 0.5, redis.incrbyfloat('f', 0.5)
same '6', redis.getdel('a')

same ['OK'] * 300, redis.pipelined { |pipe| 300.times { |i| pipe.set("p:#{i}", i) } }
same ['OK', 2, '2'], redis.multi { |t| t.set('{t}a', 1); t.incr('{t}a'); t.get('{t}a') }
other = Redis.new(port: PORT, password: PASSWORD, db: 1)
replies = redis.watch('{t}a') do
  other.set('{t}a', 'theirs')
  redis.multi { |t| t.set('{t}a', 'mine') }
end
same nil, replies
same 'theirs', redis.get('{t}a')

found = redis.scan_each(match: 'p:*', count: 50).to_a
same 300, found.uniq.size
same 300, redis.unlink(*found)

# Its connection is closed from outside, and it connects again, to the same database.
other.call([:client, :kill, :id, redis.call([:client, :id])])
same 'theirs', redis.get('{t}a')

begin
  redis.incr('{t}a')
  raise 'text was incremented'
rescue Redis::CommandError => e
  same 'ERR value is not an integer or out of range', e.message
end
same 2, redis.hset('hash', 'name', 'Ada', 'born', 1815)
same({ 'name' => 'Ada', 'born' => '1815' }, redis.hgetall('hash'))
same 2, redis.sadd('set', %w[a b a])
same %w[a b], redis.smembers('set').sort
same 3, redis.rpush('list', %w[a b a])
same %w[a b a], redis.lrange('list', 0, -1)
same 7, redis.eval('return 7')
same 'OK', redis.flushdb
same 0, redis.dbsize
puts 'ok'
