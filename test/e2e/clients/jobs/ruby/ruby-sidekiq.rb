# Sidekiq: jobs in the background.
require_relative 'job'
require 'sidekiq'

Redis.silence_deprecations = true
Sidekiq.configure_client { |config| config.redis = { url: "redis://:#{PASSWORD}@127.0.0.1:#{PORT}/0" } }
lacks('queues') { Sidekiq::Client.push('class' => 'Work', 'args' => [1]) }
puts 'ok'
