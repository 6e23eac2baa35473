# Rack::Attack: throttles requests, with its counters in Rails' cache.
require_relative 'job'
require 'active_support'
require 'active_support/cache'
require 'active_support/cache/redis_cache_store'
require 'rack/attack'
require 'rack/mock'

Redis.silence_deprecations = true
raising = ->(exception:, **) { raise exception }
Rack::Attack.cache.store =
  ActiveSupport::Cache::RedisCacheStore.new(url: "redis://:#{PASSWORD}@127.0.0.1:#{PORT}/1", error_handler: raising)
Rack::Attack.throttle('visitors', limit: 3, period: 1_000_000_000, &:ip)
Rack::Attack.blocklist('login') do |request|
  Rack::Attack::Fail2Ban.filter(request.ip, maxretry: 2, findtime: 1_000_000_000, bantime: 600) do
    request.path == '/wrong-password'
  end
end
site = Rack::MockRequest.new(Rack::Attack.new(->(_env) { [200, {}, ['hello']] }))
ask = ->(path, ip) { site.get(path, 'REMOTE_ADDR' => ip).status }
same [200, 200, 200, 429, 429], Array.new(5) { ask.call('/', '1.2.3.4') }
same [403, 403], Array.new(2) { ask.call('/wrong-password', '5.6.7.8') }
same [403, 200], [ask.call('/', '5.6.7.8'), ask.call('/', '9.9.9.9')]
puts 'ok'
