/** The hottest and the largest keys, for the HTTP API and the Redis protocol, and as metrics without their names. */
import { Gauge, type Registry } from 'prom-client'
import { VALUE_TYPES, type KeyStore } from '../coordinator/api.ts'
import { clientKey, isHidden } from '../core/keys.ts'

export interface HotKeyView {
  readonly key: Buffer
  readonly db: number
  readonly perSecond: number
  readonly writesPerSecond: number
  /** Of all operations, 0 to 1. */
  readonly share: number
}

export interface BigKeyView {
  readonly key: Buffer
  readonly db: number
  readonly type: string
  readonly bytes: number
  /** Since this coordinator has read or written it. */
  readonly secondsAgo: number
}

export interface UsageView {
  /** False: HOT_KEYS is 0. */
  readonly watched: boolean
  /** Operations on single keys, of this coordinator. */
  readonly perSecond: number
  readonly hot: readonly HotKeyView[]
  /** By type, the largest first. */
  readonly big: readonly BigKeyView[]
}

const NOT_WATCHED: UsageView = { watched: false, perSecond: 0, hot: [], big: [] }

export function usageView(store: Pick<KeyStore, 'usage' | 'nowMs'>): UsageView {
  const { usage } = store
  if (!usage) return NOT_WATCHED
  const { perSecond, hot } = usage.hot.report()
  const big = usage.big.report(store.nowMs())
  return {
    watched: true,
    perSecond: rounded(perSecond),
    hot: hot.filter(isOfClients).map((one) => ({
      ...named(one.key),
      perSecond: rounded(one.perSecond),
      writesPerSecond: rounded(one.writesPerSecond),
      share: Math.round(one.share * 10_000) / 10_000,
    })),
    big: VALUE_TYPES.flatMap((type) =>
      big[type].filter(isOfClients).map(({ key, bytes, ageMs }) => ({
        ...named(key),
        type,
        bytes,
        secondsAgo: Math.round(ageMs / 1000),
      })),
    ),
  }
}

function rounded(perSecond: number): number {
  return Math.round(perSecond * 10) / 10
}

/** Not a tag, nor a lease of a fill. */
function isOfClients({ key }: { readonly key: Buffer }): boolean {
  const named = clientKey(key)
  return named !== null && !isHidden(named.database)
}

function named(stored: Buffer): { readonly key: Buffer; readonly db: number } {
  const { key, database } = clientKey(stored)!
  return { key, db: database }
}

/** A key with at least this part of the operations, and at least so many a second, is hot. */
const HOT_SHARE = 0.01
const HOT_PER_SECOND = 10
/** A value of at least so many bytes is big. */
const BIG_BYTES = 100 * 1024

export function registerUsageMetrics(registry: Registry, store: Pick<KeyStore, 'usage' | 'nowMs'>): void {
  if (!store.usage) return
  const { usage } = store
  const registers = [registry]
  const gauge = (name: string, help: string, aggregator: 'sum' | 'max', value: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      aggregator,
      collect() {
        this.set(value())
      },
    })
  gauge('rondo_hot_keys', 'Keys with 1 % of the operations and 10 a second, at least.', 'max', () => {
    const { hot } = usage.hot.report()
    return hot.filter(({ share, perSecond }) => share >= HOT_SHARE && perSecond >= HOT_PER_SECOND).length
  })
  gauge(
    'rondo_hottest_key_operations_per_second',
    'Operations on the key with the most of them, estimated.',
    'sum',
    () => usage.hot.report().hot[0]?.perSecond ?? 0,
  )
  gauge('rondo_hottest_key_share', 'Its part of all operations, 0 to 1.', 'max', () => {
    return usage.hot.report().hot[0]?.share ?? 0
  })
  const byType = (name: string, help: string, value: (bytes: readonly number[]) => number) =>
    new Gauge({
      name,
      help,
      labelNames: ['type'] as const,
      registers,
      aggregator: 'max',
      collect() {
        const big = usage.big.report(store.nowMs())
        for (const type of VALUE_TYPES) this.set({ type }, value(big[type].map(({ bytes }) => bytes)))
      },
    })
  byType(
    'rondo_big_keys',
    'Values of 100 KiB and more among the largest that are known, by type.',
    (bytes) => bytes.filter((one) => one >= BIG_BYTES).length,
  )
  byType(
    'rondo_largest_value_bytes',
    'The largest value that is known, by type; 0 = none.',
    (bytes) => bytes[0] ?? 0,
  )
}
