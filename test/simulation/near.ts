/**
 * The near cache of a coordinator in the simulation: the program's cache and its tracker (nodes/redis/tracking.ts), over
 * connections to simulated servers. What such a server sends is what Redis would send on a connection with CLIENT TRACKING in
 * broadcasting mode:
 *
 *   a turn of its event loop  ├─ PING ─ write ─ GET ─ PING ─┤ invalidations of the turn
 *                                 └─▶ PONG is before them, also where the write was before the PING
 *
 * The next PING belongs to a later turn: before it is answered, all of them are sent.
 */
import { EventEmitter } from 'node:events'
import type { Fence, StoreAllWrite, Subscription } from '../../src/nodes/node.ts'
import { NearCache, type Ask, type NearNode } from '../../src/nodes/near/near-cache.ts'
import { Tracker, type TrackingSocket } from '../../src/nodes/redis/tracking.ts'
import type { Random } from '../support/random.ts'
import type { Counters } from './coverage.ts'
import type { Host } from './host.ts'
import { Wire, type Path } from './network.ts'
import type { Process, SentCall, Server } from './server.ts'

/** NEAR_CACHE_MAX_STALENESS_MS: short, so that values are read for longer than that. */
export const MAX_STALENESS_MS = 300
const MAX_BYTES = 1 << 20
const TIMEOUT_MS = 300
/** Of an event loop that does much else; most are far shorter. */
const LONGEST_TURN_MS = 250

export interface TrackingWorld {
  readonly host: Host
  readonly path: Path
  readonly resolve: () => Server
  readonly counters: Counters
  readonly random: Random
}

export function nearCache(host: Host): NearCache {
  return new NearCache({ maxBytes: MAX_BYTES, maxStalenessMs: MAX_STALENESS_MS, clock: host })
}

/** What redis-node.ts does for the near cache, for a simulated link. */
export class SimNear {
  readonly node: NearNode
  private readonly tracker: Tracker
  private readonly sockets = new Set<SimSocket>()

  constructor(id: string, cache: NearCache, world: TrackingWorld) {
    this.node = cache.of(id)
    const { host } = world
    const address = { host: id, port: 6379, tls: false }
    const dial = () => {
      const socket = new SimSocket(world, (over) => this.sockets.delete(over))
      this.sockets.add(socket)
      return socket
    }
    this.tracker = new Tracker(
      {
        ...{ address, dial, clock: host, timers: host, maxStalenessMs: MAX_STALENESS_MS },
        ...{ connectTimeoutMs: TIMEOUT_MS, nodeTimeoutMs: TIMEOUT_MS, onTracking: () => undefined },
      },
      () => ({}),
      this.node,
    )
  }

  get wires(): readonly Wire[] {
    return [...this.sockets].map(({ wire }) => wire)
  }

  /** The data path is open. */
  opened(fence: Fence): void {
    this.node.under(fence)
    this.tracker.begin(fence.runId)
  }

  closed(): void {
    this.tracker.end()
  }

  /** A call of the data path is made. */
  sends({ method, args: [first] }: SentCall): Ask | null {
    if (method === 'get') return this.node.ask(first as Buffer)
    if (method === 'store' || method === 'prepare' || method === 'accept') this.node.changed(first as Buffer)
    if (method === 'storeAll') for (const { key } of first as StoreAllWrite[]) this.node.changed(key)
    return null
  }
}

/** Our end of a connection. */
class SimSocket extends EventEmitter implements TrackingSocket {
  readonly wire: Wire
  private readonly world: TrackingWorld
  private readonly onOver: (socket: SimSocket) => void
  private remote: TrackedClient | null = null

  constructor(world: TrackingWorld, onOver: (socket: SimSocket) => void) {
    super()
    const { path, host, resolve } = world
    this.world = world
    this.onOver = onOver
    this.wire = new Wire(path, host, resolve, {
      onClosed: (why) => {
        if (why === 'refused') this.emit('error', new Error('ECONNREFUSED'))
        this.emit('close')
      },
    })
  }

  write(bytes: Buffer): void {
    this.wire.send((process) => {
      this.remote ??= new TrackedClient(process, this.world, (answer) => {
        this.wire.reply(() => this.emit('data', answer))
      })
      this.remote.receive(bytes)
    })
  }

  destroy(): void {
    this.wire.close()
    this.world.path.carry('to', () => this.remote?.close())
    this.onOver(this)
  }
}

const OK = Buffer.from('+OK\r\n')
const PONG = Buffer.from('+PONG\r\n')
const HELLO = Buffer.from('%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n')

/** The server's end. */
class TrackedClient {
  private readonly process: Process
  private readonly world: TrackingWorld
  private readonly reply: (bytes: Buffer) => void
  private subscription: Subscription | null = null
  /** Of this turn. */
  private pushes: Buffer[] = []
  private hasPinged = false

  constructor(process: Process, world: TrackingWorld, reply: (bytes: Buffer) => void) {
    this.process = process
    this.world = world
    this.reply = reply
  }

  receive(bytes: Buffer): void {
    // Of all lines the words are left: lengths of bulks and arrays go.
    const words = bytes
      .toString('latin1')
      .split('\r\n')
      .filter((line) => /^[A-Z]/.test(line))
    for (const word of words) this.execute(word)
  }

  close(): void {
    this.subscription?.close()
  }

  private execute(command: string): void {
    const { process, world } = this
    switch (command) {
      case 'HELLO':
        this.reply(HELLO)
        return
      case 'INFO': {
        const text = `# Server\r\nrun_id:${process.runId}\r\n`
        this.reply(Buffer.from(`$${text.length}\r\n${text}\r\n`))
        return
      }
      case 'CLIENT':
        this.subscription = process.engine.changes({
          opened: () => undefined,
          changed: (keys) => this.push(keys),
          ended: () => undefined,
        })
        process.settle()
        this.reply(OK)
        return
      case 'PING':
        if (this.hasPinged) this.endTurn()
        if (this.pushes.length > 0) world.counters.count('near: a PONG before invalidations of its turn')
        this.hasPinged = this.pushes.length > 0
        this.reply(PONG)
    }
  }

  private push(keys: readonly Buffer[] | null): void {
    const { process, world } = this
    if (this.pushes.push(invalidation(keys)) > 1) return
    const turnMs = LONGEST_TURN_MS * world.random.next() ** 6
    process.server.scheduler.after(turnMs, () => process.receive(() => this.endTurn()))
  }

  private endTurn(): void {
    const { pushes } = this
    this.pushes = []
    this.hasPinged = false
    for (const bytes of pushes) this.reply(bytes)
  }
}

function invalidation(keys: readonly Buffer[] | null): Buffer {
  const head = Buffer.from('>2\r\n$10\r\ninvalidate\r\n')
  if (!keys) return Buffer.concat([head, Buffer.from('_\r\n')])
  const names = keys.flatMap((key) => [Buffer.from(`$${key.length}\r\n`), key, Buffer.from('\r\n')])
  return Buffer.concat([head, Buffer.from(`*${keys.length}\r\n`), ...names])
}
