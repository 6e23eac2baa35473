/**
 * A whole coordinator over faulty nodes, on virtual time.
 *
 * Which nodes are home to a key is the ring's business: a test names nodes by their place in the key's preference list.
 */
import { Cluster } from '../../src/cluster/cluster.ts'
import type { Replicas } from '../../src/coordinator/context.ts'
import { Member } from '../../src/cluster/member.ts'
import { Coordinator, type CoordinatorOptions } from '../../src/coordinator/coordinator.ts'
import { versionText } from '../../src/core/clock.ts'
import { KIND_TOMBSTONE, type StoredRecord } from '../../src/core/codec.ts'
import type { RondoError } from '../../src/core/errors.ts'
import type { RondoEvent } from '../../src/core/events.ts'
import { FaultyNode } from './faulty-node.ts'
import { seeded } from './random.ts'
import { VirtualTime } from './virtual-time.ts'

export const REQUEST_TIMEOUT_MS = 1000
export const QUEUE_TIMEOUT_MS = 5000
export const PING_INTERVAL_MS = 3000

export interface Ended {
  /** What a user would see: a value, `(deleted)`, `(absent)`, `ok` for a write; or the code of an error. */
  readonly result: string
  readonly error: RondoError | null
  readonly tookMs: number
}

export interface UnderTestOptions {
  readonly nodes?: number
  readonly replicas?: number
  readonly maxTries?: number
  readonly time?: VirtualTime
  /** Another coordinator, whose nodes this one uses as well. */
  readonly beside?: CoordinatorUnderTest
  readonly coordinator?: number
  readonly isStatic?: boolean
  readonly announces?: boolean
  /** Leaves notes for other coordinators, under this name. */
  readonly name?: string
  readonly clusterId?: string
  /** By default a day, as the grace. */
  readonly staleAfterMs?: number
}

export class CoordinatorUnderTest {
  readonly time: VirtualTime
  readonly nodes: FaultyNode[]
  readonly cluster: Cluster
  readonly coordinator: Coordinator
  private readonly options: CoordinatorOptions
  private readonly beside: CoordinatorUnderTest | undefined
  readonly events: RondoEvent[] = []

  /** Not started. */
  constructor(options: UnderTestOptions = {}) {
    const { nodes = 4, replicas = 3, maxTries = 0, coordinator = 1 } = options
    const { beside } = options
    this.beside = beside
    this.time = beside?.time ?? options.time ?? new VirtualTime()
    this.nodes =
      beside?.nodes.map((node) => new FaultyNode(node.id, this.time, node)) ??
      Array.from({ length: nodes }, (_, i) => new FaultyNode(`node-${i + 1}`, this.time))
    let ids = 0
    const random = seeded(coordinator)
    const emit = (event: RondoEvent) => void this.events.push(event)
    this.cluster = new Cluster({
      members: this.nodes.map((node) => new Member(node, { emit, url: `redis://${node.address}` })),
      memberOf: ({ id, url }) => new Member(this.joins(id, url), { emit, url }),
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      replicationFactor: replicas,
      vnodesPerNode: 20,
      pingIntervalMs: PING_INTERVAL_MS,
      isStatic: options.isStatic ?? false,
      announces: options.announces ?? false,
      ...(options.name !== undefined && { self: { name: () => options.name!, version: '1.2.3' } }),
      clusterId: options.clusterId ?? null,
      staleAfterMs: options.staleAfterMs ?? 86_400_000,
      clock: this.time,
      timers: this.time,
      randomId: () => `id-${coordinator}-${++ids}`,
      coordinator,
      emit,
    })
    this.options = {
      maxTries,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      graceMs: 86_400_000,
      maxKeyBytes: 1024,
      maxTags: 16,
      maxValueBytes: 1 << 20,
      maxInFlight: 10_000,
      hotKeys: 0,
      maxTrackedKeys: 100_000,
      queueTimeoutMs: QUEUE_TIMEOUT_MS,
      clock: this.time,
      timers: this.time,
      random: () => random.next(),
      emit,
    }
    this.coordinator = new Coordinator(this.cluster, this.options)
  }

  /** The node at this address: a new connection, where another coordinator has one, or the former is closed. */
  private joins(id: string, url: string | null): FaultyNode {
    const address = url?.slice('redis://'.length) ?? `${id}:6379`
    const isThere = (node: FaultyNode) => node.address === address
    const known = this.nodes.find(isThere)
    if (known && !known.isClosed) return known
    const node = new FaultyNode(id, this.time, known ?? this.beside?.nodes.find(isThere), address)
    if (known) this.nodes[this.nodes.indexOf(known)] = node
    else this.nodes.push(node)
    return node
  }

  /** One more over the same cluster, with other settings. */
  coordinatorWith(options: Partial<CoordinatorOptions>): Coordinator {
    return new Coordinator(this.cluster, { ...this.options, ...options })
  }

  static async started(options: UnderTestOptions = {}): Promise<CoordinatorUnderTest> {
    const under = new CoordinatorUnderTest(options)
    await under.start()
    return under
  }

  async start(): Promise<void> {
    let done = false
    const starting = this.cluster.start().then(() => (done = true))
    for (let i = 0; i < 1000 && !done; i++) await this.time.advance(10)
    await starting
  }

  replicasOf(key: string): Replicas {
    return this.cluster.placement.replicaSetOf(Buffer.from(key))
  }

  /** The nodes in the order of the key's preference list: home replicas, then fallback replicas. */
  nodesOf(key: string): FaultyNode[] {
    return this.replicasOf(key).preference.map((member) => member.node as FaultyNode)
  }

  member(node: FaultyNode): Member {
    return this.cluster.members.find((member) => member.node === node)!
  }

  // ---- operations; time passes only as the test lets it, or in `done`

  read(key: string): Promise<Ended> {
    return this.timed((end) =>
      this.coordinator.read(Buffer.from(key), {
        read: (record) => end(this.seen(record), null),
        failed: (error) => end(error.code, error),
      }),
    )
  }

  write(key: string, value: string, expiresAtMs = 0): Promise<Ended> {
    return this.timed((end) =>
      this.coordinator.write(Buffer.from(key), Buffer.from(value), expiresAtMs, {
        written: () => end('ok', null),
        failed: (error) => end(error.code, error),
      }),
    )
  }

  remove(key: string): Promise<Ended> {
    return this.timed((end) =>
      this.coordinator.remove(Buffer.from(key), {
        written: () => end('ok', null),
        failed: (error) => end(error.code, error),
      }),
    )
  }

  /** Lets time pass until the operation has ended. */
  async done<T>(operation: Promise<T>): Promise<T> {
    let ended = false
    const watched = operation.finally(() => (ended = true))
    watched.catch(() => undefined) // the caller gets it from the return
    await this.time.settle()
    for (let i = 0; i < 500 && !ended; i++) await this.time.advance(10)
    if (!ended) throw new Error('the operation has not ended in five seconds')
    return watched
  }

  get = (key: string) => this.done(this.read(key))
  put = (key: string, value: string, expiresAtMs = 0) => this.done(this.write(key, value, expiresAtMs))
  del = (key: string) => this.done(this.remove(key))

  told(kind: RondoEvent['kind']): RondoEvent[] {
    return this.events.filter((event) => event.kind === kind)
  }

  private seen(record: StoredRecord | null): string {
    if (!record) return '(absent)'
    if (record.isLive(this.coordinator.nowMs())) return record.value.toString()
    return record.kind === KIND_TOMBSTONE ? '(deleted)' : '(expired)'
  }

  private timed(start: (end: (result: string, error: RondoError | null) => void) => void): Promise<Ended> {
    const begunMs = this.time.monotonicMs()
    return new Promise((resolve, reject) => {
      let ended = false
      start((result, error) => {
        if (ended) reject(new Error('an operation ended twice'))
        ended = true
        resolve({ result, error, tookMs: this.time.monotonicMs() - begunMs })
      })
    })
  }
}

export function versionHeldBy(node: FaultyNode, key: string): string | null {
  const record = node.held(key)
  return record && versionText(record.version)
}
