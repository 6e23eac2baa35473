# Rails' cache: ActiveSupport's redis_cache_store. It hides errors by default; here they are raised.
require_relative 'job'
require 'active_support'
require 'active_support/cache'
require 'active_support/cache/redis_cache_store'
require 'active_support/core_ext/integer/time'

Redis.silence_deprecations = true
options = { url: "redis://:#{PASSWORD}@127.0.0.1:#{PORT}/1", error_handler: ->(exception:, **) { raise exception } }
cache = ActiveSupport::Cache::RedisCacheStore.new(**options, namespace: 'app', expires_in: 90.minutes)

same 'OK', cache.write('user', { name: 'Ada' }, expires_in: 60.seconds)
same({ name: 'Ada' }, cache.read('user'))
same true, (50..60).cover?(cache.redis.ttl('app:user'))
worked = 0
same [1, 1], Array.new(2) { cache.fetch('worked') { worked += 1 } }
same true, (5390..5400).cover?(cache.redis.ttl('app:worked'))
same 2, cache.fetch('worked', force: true) { worked += 1 }
same false, cache.write('worked', 9, unless_exist: true)
same true, cache.write('new', 9, unless_exist: true)
same true, cache.exist?('new')
same 1, cache.delete('new')
same 'x' * 5000, (cache.write('long', 'x' * 5000) && cache.read('long'))

many = (0...50).to_h { |i| ["many:#{i}", i] }
cache.write_multi(many)
cache.write_multi({ 'soon:1' => 1, 'soon:2' => 2 }, expires_in: 30.seconds)
same true, (20..30).cover?(cache.redis.ttl('app:soon:2'))
same many, cache.read_multi(*many.keys, 'none')
same({ 'many:1' => 1, 'none' => 'none!' }, cache.fetch_multi('many:1', 'none') { |name| "#{name}!" })
same 2, cache.delete_multi(%w[many:0 many:1])
same [3, 1], [cache.increment('count', 3), cache.decrement('count', 2)]
same '1', cache.read('count', raw: true)

other = ActiveSupport::Cache::RedisCacheStore.new(**options, namespace: 'other')
other.write('kept', 'x')
cache.delete_matched('many:*')
same [nil, { name: 'Ada' }], [cache.read('many:2'), cache.read('user')]
cache.clear
same [nil, 'x'], [cache.read('user'), other.read('kept')]

# A pool of connections, as a web server with threads has it.
pooled = ActiveSupport::Cache::RedisCacheStore.new(**options, pool_size: 5)
Array.new(5) { |i| Thread.new { 20.times { |j| pooled.write("t:#{i}:#{j}", j) } } }.each(&:join)
same 100, pooled.read_multi(*(0...5).flat_map { |i| Array.new(20) { |j| "t:#{i}:#{j}" } }).size
pooled.clear
same nil, other.read('kept')
puts 'ok'
