# redis-rack: sessions of web sites on Rack (Sinatra, Rails).
require_relative 'job'
require 'rack'
require 'rack/mock'
require 'rack/session/redis'

Redis.silence_deprecations = true
site = lambda do |env|
  session = env['rack.session']
  session.destroy if env['PATH_INFO'] == '/logout'
  session[:count] = (session[:count] || 0) + 1 unless env['PATH_INFO'] == '/logout'
  [200, {}, [session[:count].to_s]]
end
app = Rack::Session::Redis.new(site, redis_server: "redis://:#{PASSWORD}@127.0.0.1:#{PORT}/0/rack:session", expire_after: 600)
visitor = Rack::MockRequest.new(app)
first = visitor.get('/')
cookie = { 'HTTP_COOKIE' => first['Set-Cookie'].split(';').first }
same '1', first.body
same %w[2 3], Array.new(2) { visitor.get('/', cookie).body }
same '1', visitor.get('/').body
plain = Redis.new(port: PORT, password: PASSWORD)
same 2, plain.keys('rack:session:*').size
same true, (590..600).cover?(plain.ttl(plain.keys('rack:session:*').first))
visitor.get('/logout', cookie)
same '1', visitor.get('/', cookie).body
puts 'ok'
