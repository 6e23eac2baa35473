# Moneta: one interface of many key-value stores.
require_relative 'job'
require 'moneta'
require 'redis'

Redis.silence_deprecations = true
store = Moneta.new(:Redis, host: '127.0.0.1', port: PORT, password: PASSWORD, db: 1, expires: true)
store['user'] = { name: 'Ada' }
same({ name: 'Ada' }, store['user'])
store.store('soon', 'x', expires: 60)
same true, store.key?('soon')
same true, store.create('new', 1)
same false, store.create('new', 2)
same [5, 3], [store.increment('count', 5), store.decrement('count', 2)]
store.merge!('a' => 1, 'b' => 2)
same [1, nil, 2], store.values_at('a', 'none', 'b')
same({ name: 'Ada' }, store.delete('user'))
same nil, store['user']
store.clear
same false, store.key?('a')
puts 'ok'
