# Sidekiq: jobs in the background.
require_relative 'job'
require 'sidekiq'
require 'sidekiq/api'
require 'sidekiq/fetch'
require 'tempfile'
require 'rbconfig'

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

# A worker, as users start it.
app = Tempfile.new(['work', '.rb'])
app.write(<<~WORK)
  require 'sidekiq'
  Redis.silence_deprecations = true
  Sidekiq.configure_server { |config| config.redis = { url: "redis://:#{PASSWORD}@127.0.0.1:#{PORT}/0" } }
  class Work
    include Sidekiq::Worker
    def perform(n)
      Sidekiq.redis { |redis| redis.rpush('done', n) }
    end
  end
WORK
app.close
log = Tempfile.new('log')
worker = spawn(RbConfig.ruby, '/usr/bin/sidekiq', '-r', app.path, '-c', '2', '-t', '1', out: log, err: log)
begin
  20.times { |i| Sidekiq::Client.push('class' => 'Work', 'args' => [i]) }
  done = -> { Sidekiq.redis { |redis| redis.lrange('done', 0, -1) } }
  ends = Time.now + 15
  sleep 0.1 until done.call.size >= 20 || Time.now > ends
  same (0..19).to_a, done.call.map(&:to_i).sort
rescue StandardError
  warn File.read(log.path)
  raise
ensure
  Process.kill('TERM', worker)
  Process.wait(worker)
end
same 20, Sidekiq::Stats.new.processed
same 0, Sidekiq::Stats.new.failed
puts 'ok'
