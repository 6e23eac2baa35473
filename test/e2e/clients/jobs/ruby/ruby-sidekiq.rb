# Sidekiq: jobs in the background.
require_relative 'job'
require 'sidekiq'
require 'sidekiq/api'
require 'sidekiq/fetch'

Redis.silence_deprecations = true
Sidekiq.configure_client { |config| config.redis = { url: "redis://:#{PASSWORD}@127.0.0.1:#{PORT}/0" } }
ids = 3.times.map { |i| Sidekiq::Client.push('class' => 'Work', 'args' => [i]) }
queue = Sidekiq::Queue.new
same 3, queue.size
same ['default'], Sidekiq::Queue.all.map(&:name)
same ids, queue.map(&:jid).reverse
same [1], queue.find_job(ids[1]).args
queue.find_job(ids[1]).delete
same 2, queue.size
queue.clear
same 0, queue.size
same [], Sidekiq::Queue.all
Thread.new { sleep 0.3; Sidekiq::Client.push('class' => 'Work', 'args' => [7]) }
work = Sidekiq::BasicFetch.new(queues: ['default']).retrieve_work
same [7], JSON.parse(work.job)['args']
same 0, queue.size
later = Sidekiq::Client.push('class' => 'Work', 'args' => [1], 'at' => Time.now.to_f + 60)
same [later], Sidekiq::ScheduledSet.new.map(&:jid)
puts 'ok'
