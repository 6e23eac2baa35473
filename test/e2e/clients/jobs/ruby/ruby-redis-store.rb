# redis-store: objects and namespaces over redis-rb.
require_relative 'job'
require 'redis-store'

Redis.silence_deprecations = true
store = Redis::Store::Factory.create("redis://:#{PASSWORD}@127.0.0.1:#{PORT}/1/app")
same 'OK', store.set('user', { name: 'Ada' }, expire_after: 60)
same({ name: 'Ada' }, store.get('user'))
plain = Redis.new(port: PORT, password: PASSWORD, db: 1)
same true, (50..60).cover?(plain.ttl('app:user'))
same false, store.setnx('user', 'other')
store.setex('soon', 30, [1, 2])
same [{ name: 'Ada' }, [1, 2], nil], store.mget('user', 'soon', 'none')
same 5, store.incrby('count', 5)
same %w[count soon user], store.keys('*').sort
same 1, store.del('user')
plain.set('kept', 'x')
store.flushdb
same ['kept'], plain.keys
puts 'ok'
