/** The server's statistics (stats.ts) as metrics; those of several workers are summed. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { RespServer } from './resp-server.ts'
import { BUCKETS_US } from './connection/stats.ts'

export function registerRespMetrics(registry: Registry, server: RespServer): void {
  const registers = [registry]
  new Durations(server, registers)
  new Counter({
    name: 'rondo_resp_command_errors_total',
    help: 'Commands of the Redis protocol that were answered with an error, by command.',
    labelNames: ['command'] as const,
    registers,
    collect() {
      this.reset()
      for (const [command, errors] of server.stats.errorsByCommand()) this.inc({ command }, errors)
    },
  })
  new Counter({
    name: 'rondo_resp_errors_total',
    help: 'Errors that commands of the Redis protocol were answered with, by their first word.',
    labelNames: ['code'] as const,
    registers,
    collect() {
      this.reset()
      for (const [code, count] of server.stats.errorsByCode) this.inc({ code }, count)
    },
  })
  new Counter({
    name: 'rondo_resp_other_protocol_connections_total',
    help: 'Connections to the Redis port that started with another protocol, and were closed.',
    labelNames: ['protocol'] as const,
    registers,
    collect() {
      this.reset()
      for (const [protocol, count] of server.otherProtocols.counts) this.inc({ protocol }, count)
    },
  })
  registerSubscriptionMetrics(registers, server)
  new Gauge({
    name: 'rondo_resp_connections',
    help: 'Connections of the Redis protocol.',
    registers,
    collect() {
      this.set(server.connections.size)
    },
  })
}

function registerSubscriptionMetrics(registers: Registry[], server: RespServer): void {
  new Counter({
    name: 'rondo_resp_subscribers_cut_total',
    help: 'Connections of subscribers that were closed because they read their messages too slowly.',
    registers,
    collect() {
      this.reset()
      this.inc(server.subscribersCut)
    },
  })
  new Counter({
    name: 'rondo_resp_messages_dropped_total',
    help: 'Published messages that this coordinator dropped, because too many waited to be handed to its subscribers.',
    registers,
    collect() {
      this.reset()
      this.inc(server.store.channels.dropped)
    },
  })
  new Gauge({
    name: 'rondo_resp_subscriptions',
    help: 'Different channels, shard channels and patterns that clients of this coordinator subscribe to.',
    labelNames: ['kind'] as const,
    registers,
    collect() {
      const { channels, patterns, shardChannels } = server.store.channels.subscriptions
      this.set({ kind: 'channel' }, channels)
      this.set({ kind: 'pattern' }, patterns)
      this.set({ kind: 'shard' }, shardChannels)
    },
  })
}

type Metric = Awaited<ReturnType<Histogram<'command'>['get']>>

const DURATIONS = 'rondo_resp_command_duration_seconds'
const HELP = 'How long commands of the Redis protocol took, from their last byte to their reply, by command.'

/** A histogram of values counted elsewhere: observing each command would cost more than the command. */
class Durations extends Histogram<'command'> {
  private readonly server: RespServer

  constructor(server: RespServer, registers: Registry[]) {
    const buckets = BUCKETS_US.map((us) => us / 1e6)
    super({ name: DURATIONS, help: HELP, labelNames: ['command'], buckets, registers })
    this.server = server
  }

  override get(): Promise<Metric> {
    const metric = { name: DURATIONS, help: HELP, type: 'histogram', aggregator: 'sum', values: this.rows() }
    // The library's own metrics look like this; its types do not.
    return Promise.resolve(metric as unknown as Metric)
  }

  /** Called for the text format. */
  getForPromString(): Promise<Metric> {
    return this.get()
  }

  private rows(): Metric['values'] {
    return [...this.server.stats.rows()].flatMap(({ command, seconds, buckets }) => {
      const value = (part: string, value: number, le?: number | string) => ({
        metricName: `${DURATIONS}_${part}`,
        labels: { ...(le === undefined ? {} : { le }), command },
        value,
        exemplar: null,
      })
      let count = 0
      const cumulative = buckets.map((bucket, i) => {
        count += bucket
        return value('bucket', count, i < BUCKETS_US.length ? BUCKETS_US[i]! / 1e6 : '+Inf')
      })
      return [...cumulative, value('sum', seconds), value('count', count)]
    })
  }
}
