# redis-activesupport: Rails' cache over redis-store.
require_relative 'job'
require 'active_support'
require 'active_support/cache'
require 'redis-activesupport'

Redis.silence_deprecations = true
raising = ->(exception: nil, **) { raise exception }
cache = ActiveSupport::Cache::RedisStore.new("redis://:#{PASSWORD}@127.0.0.1:#{PORT}/1/app", error_handler: raising)
same true, [true, 'OK'].include?(cache.write('user', { name: 'Ada' }, expires_in: 60))
same({ name: 'Ada' }, cache.read('user'))
same [1, 1], Array.new(2) { cache.fetch('worked') { 1 } }
same({ 'user' => { name: 'Ada' }, 'worked' => 1 }, cache.read_multi('user', 'worked', 'none'))
same({ 'worked' => 1, 'a' => 'a!', 'b' => 'b!' }, cache.fetch_multi('worked', 'a', 'b') { |name| "#{name}!" })
same [3, 1], [cache.increment('count', 3), cache.decrement('count', 2)]
cache.delete_matched('wor*')
same [nil, 'a!'], [cache.read('worked'), cache.read('a')]
cache.clear
same nil, cache.read('user')
puts 'ok'
