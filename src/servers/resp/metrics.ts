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
  registerTrackingMetrics(registers, server)
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

const TRACKING_GAUGES = [
  ['clients', 'Clients that are told which keys change (CLIENT TRACKING).', 'trackers'],
  ['keys', 'Keys that are remembered for clients that may keep them: each once for each client.', 'items'],
  ['nodes', 'Nodes that tell this coordinator which keys change, for its clients.', 'nodes'],
] as const
const TRACKING_COUNTERS = [
  ['invalidations', 'Keys that clients were told of, each once for each client.', 'told'],
  ['evicted', 'Keys that clients were told of because too many were remembered.', 'evicted'],
  ['flushes', 'Times that clients were told that all keys may have changed.', 'flushes'],
] as const

function registerTrackingMetrics(registers: Registry[], { store }: RespServer): void {
  for (const [name, help, count] of TRACKING_GAUGES) {
    new Gauge({
      name: `rondo_tracking_${name}`,
      help,
      registers,
      collect() {
        this.set(store.tracking.counts[count])
      },
    })
  }
  for (const [name, help, count] of TRACKING_COUNTERS) {
    new Counter({
      name: `rondo_tracking_${name}_total`,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(store.tracking.counts[count])
      },
    })
  }
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
