# redis-namespace: several applications in one Redis.
require_relative 'job'
require 'redis-namespace'

Redis.silence_deprecations = true
plain = Redis.new(port: PORT, password: PASSWORD)
app, other = %w[app other].map { |name| Redis::Namespace.new(name, redis: plain) }
same 'OK', app.set('a', '1')
same nil, other.get('a')
same '1', plain.get('app:a')
same 'OK', app.mset('b', 2, 'c', 3)
same %w[1 2 3], app.mget('a', 'b', 'c')
same({ 'b' => '2' }, app.mapped_mget('b'))
same ['OK', 3], app.multi { |t| t.set('{t}x', 2); t.incr('{t}x') }
same [4, '2'], app.pipelined { |pipe| pipe.incr('{t}x'); pipe.get('b') }
same %w[a b c {t}x], app.scan_each(match: '*').to_a.sort
other.set('kept', 'x')
same 4, app.del('a', 'b', 'c', '{t}x')
same ['other:kept'], plain.keys
puts 'ok'
