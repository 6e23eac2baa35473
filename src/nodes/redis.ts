/**
 * A Redis (or Valkey) as a node: data over our own pipelined socket (link.ts), everything else over ioredis.
 *
 * Two paths because three ioredis commands a write cost more than everything else together, and because ioredis may
 * send again what it has reported as failed. The control client is therefore set up never to queue, never to resend,
 * and never to reconnect by itself: health decides when to try again, by probing.
 *
 * The scripts are loaded by every probe that connects. A SCRIPT FLUSH in between is answered with NOSCRIPT, which is
 * the one refusal after which the same call is sent once more, with the script's text: it certainly was not applied.
 */
import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { Redis } from 'ioredis'
import { VERSION_BYTES, type Clock, type TimerHandle, type Timers } from '../core/clock.ts'
import {
  EXPIRY_AT,
  FLAGS_AT,
  HEAD_WITH_PROMISE_BYTES,
  KIND_VALUE,
  REPLACED_AT,
  type NewRecord,
} from '../core/codec.ts'
import { hintsKey, leaseKey, MARKER_KEY, SYNCED_AT_KEY, TOPOLOGY_KEY, WRITABLE_KEY } from '../core/keys.ts'
import { decodeSyncedAt, encodeSyncedAt, type SyncedAt } from '../core/synced-at.ts'
import { errorReason, isUnwritable } from './error-replies.ts'
import { NOT_CONNECTED, SHUT } from './failures.ts'
import { NodeLoad } from './load.ts'
import { Link, REPLY_ERROR, REPLY_TOO_LONG, type LinkOptions } from './link.ts'
import {
  MAX_HINTS,
  type Fence,
  type GetCall,
  type Hint,
  type HintCall,
  type HintPage,
  type Node,
  type NodeFailure,
  type NodeListener,
  type NodeReport,
  type PrepareCall,
  type RegisterAnswer,
  type ScanEntry,
  type ScanPage,
  type StoreAllCall,
  type StoreAllMode,
  type StoreAllWrite,
  type StoreCall,
  type StoreCondition,
} from './node.ts'
import {
  GET_HEAD,
  PendingAccept,
  PendingGet,
  PendingHint,
  PendingPrepare,
  PendingStoreAll,
  PendingStores,
  PLUS,
  TOO_LONG,
  ZERO,
  type DataCall,
  type PendingScript,
  type Resendable,
} from './redis-calls.ts'
import {
  ACCEPT,
  DROP_COPY,
  DROP_HINT,
  DROP_OLDER,
  HINT,
  LEASE,
  PREPARE,
  SCAN,
  STAMP,
  STORE,
  STORE_ALL,
  SWAP_MARKER,
  type Script,
} from './scripts.ts'

export interface RedisNodeOptions {
  readonly id: string
  readonly address: {
    readonly host: string
    readonly port: number
    readonly tls: boolean
    readonly username?: string
    readonly password?: string
  }
  /** For `rediss://`: asked for with every connection, since certificates are renewed. */
  readonly tlsOptions?: () => ConnectionOptions
  readonly graceMs: number
  readonly nodeTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly maxValueBytes: number
  /** By default MAX_HINTS. */
  readonly maxHints?: number
  readonly clock: Clock
  readonly timers: Timers
}

const MAX_IN_FLIGHT = 100_000
const MAX_UNSENT_BYTES = 64 * 1024 * 1024
/** What a reply may be longer than a value: its head, or all of what the greeting asks for. */
const REPLY_MARGIN_BYTES = 16 * 1024
const PROBED_WRITE_LIFE_MS = 1000
/** Keys that one call of scan looks at, at most: a node serves nobody else meanwhile. */
const MAX_SCANNED = 1000

export class RedisNode implements Node {
  readonly id: string
  readonly address: string
  listener: NodeListener | null = null
  readonly load = new NodeLoad()

  private readonly options: RedisNodeOptions
  /** GRACE_SECONDS in milliseconds, as the scripts take it. */
  readonly grace: Buffer
  /** As the script takes it. */
  readonly maxHints: Buffer
  private link: Link | null = null
  /** Those of this turn that nothing else has come behind. */
  private openStores: PendingStores | null = null
  private control: Redis | null = null
  private connecting: Promise<Redis> | null = null
  private closed = false

  constructor(options: RedisNodeOptions) {
    this.options = options
    this.id = options.id
    const { host, port } = options.address
    this.address = `${host.includes(':') ? `[${host}]` : host}:${port}`
    this.grace = Buffer.from(String(options.graceMs))
    this.maxHints = Buffer.from(String(options.maxHints ?? MAX_HINTS))
  }

  // ---- data path

  get ready(): boolean {
    return this.link?.ready ?? false
  }

  get(key: Buffer, call: GetCall, expectedBytes = 0): void {
    const link = this.usableLink(call)
    if (!link) return
    this.closeStores()
    link.raw(GET_HEAD)
    link.bulk(key)
    link.enqueue(new PendingGet(this, call, expectedBytes))
  }

  store(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall, condition?: StoreCondition): void {
    const link = this.usableLink(call)
    if (!link) return
    // A delete goes alone: a full node takes it, and refuses what stands in front of it in the same script.
    const alone = condition !== undefined || record.head[FLAGS_AT] !== KIND_VALUE
    if (alone || !this.openStores) {
      this.closeStores()
      this.openStores = new PendingStores(this, condition)
      link.expectMore()
    }
    this.openStores.add({ key, record, lifeMs, call })
    if (alone || this.openStores.isFull) this.closeStores()
  }

  /** What comes next must not overtake the stores before it. */
  private readonly closeStores = (): void => {
    const stores = this.openStores
    if (!stores) return
    this.openStores = null
    this.enqueue(this.link!, stores, stores.heads.bySha)
  }

  prepare(key: Buffer, ballot: Buffer, call: PrepareCall, expectedBytes = 0): void {
    this.send(new PendingPrepare(this, key, ballot, call, expectedBytes), call)
  }

  accept(key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall): void {
    this.send(new PendingAccept(this, key, record, lifeMs, call), call)
  }

  storeAll(writes: readonly StoreAllWrite[], mode: StoreAllMode, call: StoreAllCall): void {
    this.send(new PendingStoreAll(this, writes, mode, call), call)
  }

  hint(target: string, key: Buffer, version: Buffer, call: HintCall): void {
    this.send(new PendingHint(this, target, key, version, call), call)
  }

  private send(pending: PendingScript, call: DataCall): void {
    const link = this.usableLink(call)
    if (!link) return
    this.closeStores()
    this.enqueue(link, pending, pending.heads.bySha)
  }

  private enqueue(link: Link, pending: Resendable, head: Buffer): void {
    link.raw(head)
    pending.encode(link)
    link.enqueue(pending)
  }

  /** The node has forgotten the script: certainly not applied, so this once the call is sent again. */
  sendWithText(pending: Resendable): void {
    const refusal = this.link ? this.link.refusal() : NOT_CONNECTED
    if (refusal) {
      pending.lost(refusal)
      return
    }
    this.closeStores()
    this.enqueue(this.link!, pending, pending.heads.withText)
  }

  private usableLink(call: DataCall): Link | null {
    const refusal = this.link ? this.link.refusal() : NOT_CONNECTED
    if (!refusal) return this.link
    this.options.timers.endOfTurn(() => call.onFailure(this, refusal))
    return null
  }

  /** What an error reply (or one of the wrong type) says about the call and about the node. */
  judge(replyType: number, reply: Buffer | null): NodeFailure {
    // What answers with a record may have changed it first.
    if (replyType === REPLY_TOO_LONG) return { ...TOO_LONG, kind: 'unknown' }
    const text = reply?.toString('utf8') ?? ''
    if (replyType !== REPLY_ERROR) {
      return { kind: 'unknown', reason: 'error', message: `unexpected answer ${JSON.stringify(text)}` }
    }
    const reason = errorReason(text)
    if (isUnwritable(reason)) this.listener?.onUnwritable(this, reason)
    return { kind: 'refused', reason, message: text }
  }

  async open(fence: Fence): Promise<void> {
    if (this.link?.ready && this.link.runId === fence.runId) {
      this.link.expect(fence)
      return
    }
    this.shut(SHUT.message)
    if (this.closed) throw new Error(`node ${this.id} is closed`)
    const link = new Link(
      this.linkOptions(),
      fence,
      { ...this.options, load: this.load },
      {
        onBroken: (failure) => {
          if (this.link === link) this.listener?.onBroken(this, failure)
        },
        onForeignMarker: () => {
          if (this.link === link) this.listener?.onForeignMarker(this)
        },
        endOfBatch: this.closeStores,
      },
    )
    this.link = link
    await link.connect()
  }

  shut(reason: string): void {
    this.closeStores()
    const link = this.link
    this.link = null
    link?.destroy({ ...SHUT, message: reason })
  }

  private linkOptions(): LinkOptions {
    const { host, port, tls, username, password } = this.options.address
    return {
      host,
      port,
      tls: tls ? this.tlsOptions() : null,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      connectTimeoutMs: this.options.connectTimeoutMs,
      callTimeoutMs: this.options.nodeTimeoutMs,
      maxInFlight: MAX_IN_FLIGHT,
      maxUnsentBytes: MAX_UNSENT_BYTES,
      maxReplyBytes: this.options.maxValueBytes + REPLY_MARGIN_BYTES,
    }
  }

  private tlsOptions(): ConnectionOptions {
    const { host } = this.options.address
    // An address is not a server name (RFC 6066); the certificate is checked against it all the same.
    return { ...(isIP(host) === 0 ? { servername: host } : {}), ...this.options.tlsOptions?.() }
  }

  // ---- control path

  async probe(peers: readonly string[] = []): Promise<NodeReport> {
    const { connectTimeoutMs, nodeTimeoutMs } = this.options
    const client = await this.inTime(connectTimeoutMs + nodeTimeoutMs, this.connectControl())
    const sentAtMonotonicMs = this.options.clock.monotonicMs()
    const asked = client
      .pipeline()
      .call('TIME')
      .callBuffer('GET', MARKER_KEY)
      .callBuffer('GET', TOPOLOGY_KEY)
      .callBuffer('GET', SYNCED_AT_KEY)
      .call('INFO')
    for (const peer of peers) asked.call('HLEN', hintsKey(peer))
    const answers = await this.inTime(nodeTimeoutMs, asked.exec())
    const receivedAtMonotonicMs = this.options.clock.monotonicMs()
    const [time, marker, topology, syncedAt, info, ...hintCounts] = (answers ?? []).map(([error, value]) => {
      if (error) throw error
      return value
    }) as [[string, string], Buffer | null, Buffer | null, Buffer | null, string, ...number[]]
    const field = infoFields(info)
    return {
      runId: field('run_id'),
      timeMs: Number(time[0]) * 1000 + Number(time[1]) / 1000,
      sentAtMonotonicMs,
      receivedAtMonotonicMs,
      marker,
      topology,
      syncedAt: decodeSyncedAt(syncedAt),
      durable: await this.isDurable(client, field('aof_enabled')),
      software: `${field('valkey_version') ? 'valkey' : 'redis'} ${field('valkey_version') || field('redis_version')}`,
      memoryUsedBytes: Number(field('used_memory')),
      memoryLimitBytes: Number(field('maxmemory')),
      evictionPolicy: field('maxmemory_policy'),
      evictedKeys: Number(field('evicted_keys')),
      hints: new Map(
        peers.map((peer, i) => [peer, hintCounts[i]!] as const).filter(([, count]) => count > 0),
      ),
    }
  }

  /** Rejects when the node is overdue, but not before we have read what arrived while our event loop was busy. */
  private async inTime<T>(limitMs: number, answer: Promise<T>): Promise<T> {
    const { timers } = this.options
    let timer: TimerHandle | null = null
    const overdue = new Promise<never>((_, reject) => {
      timer = timers.setTimeout(() => {
        timers.endOfTurn(() => {
          timers.endOfTurn(() => {
            reject(new Error(`no answer to a ping within ${limitMs} ms`))
          })
        })
      }, limitMs)
    })
    try {
      return await Promise.race([answer, overdue])
    } catch (error) {
      answer.catch(() => undefined) // told above
      this.control?.disconnect() // where a command hangs, it is of no use to the next probe
      // What ioredis says when the connection is lost before a command leaves speaks of its own options.
      if (/enableOfflineQueue|Connection is closed/.test(String(error))) {
        throw new Error('the connection was lost', { cause: error })
      }
      throw error
    } finally {
      timers.clearTimeout(timer!)
    }
  }

  private appendfsync: string | null = null

  /** Asked once a connection; where CONFIG is forbidden the answer is no. */
  private async isDurable(client: Redis, aofEnabled: string): Promise<boolean> {
    if (aofEnabled !== '1') return false
    this.appendfsync ??= await client.config('GET', 'appendfsync').then(
      (pair) => pair[1] ?? 'unknown',
      (error: Error) => {
        if (errorReason(error.message) === 'error') return 'unknown'
        throw error
      },
    )
    return this.appendfsync === 'always'
  }

  private async connectControl(): Promise<Redis> {
    if (this.closed) throw new Error(`node ${this.id} is closed`)
    if (this.control?.status === 'ready') return this.control
    this.connecting ??= this.newControl().finally(() => (this.connecting = null))
    return this.connecting
  }

  private async newControl(): Promise<Redis> {
    this.control?.disconnect()
    this.appendfsync = null
    const { host, port, tls, username, password } = this.options.address
    const client = new Redis({
      host,
      port,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(tls ? { tls: this.tlsOptions() } : {}),
      lazyConnect: true,
      enableOfflineQueue: false,
      enableReadyCheck: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      disableClientInfo: true,
      retryStrategy: () => null,
      connectTimeout: this.options.connectTimeoutMs,
      // Probes have their own, shorter deadline; this one bounds listings and the rest.
      commandTimeout: 4 * Math.max(this.options.connectTimeoutMs, this.options.nodeTimeoutMs),
    })
    // connect() reports as well, but not errors that come later: a broken control connection shows at the next probe.
    let lastError: Error | null = null
    client.on('error', (error: Error) => (lastError = error))
    this.control = client
    try {
      await client.connect()
      for (const script of [STORE, PREPARE, ACCEPT, STORE_ALL, HINT]) await client.script('LOAD', script.text)
      return client
    } catch (error) {
      client.disconnect()
      throw lastError ?? error
    }
  }

  async tryWrite(): Promise<void> {
    const client = await this.connectControl()
    await client.set(WRITABLE_KEY, '1', 'PX', PROBED_WRITE_LIFE_MS)
  }

  async swapMarker(expected: Buffer | null, next: Buffer): Promise<boolean> {
    const args = [expected ? '1' : '0', expected ?? '', next]
    return (await this.run(SWAP_MARKER, MARKER_KEY, args)) === 1
  }

  async stamp(marker: Buffer, syncedAt: SyncedAt): Promise<boolean> {
    return (await this.runOn(STAMP, [MARKER_KEY, SYNCED_AT_KEY], [marker, encodeSyncedAt(syncedAt)])) === 1
  }

  async dropOlder(marker: Buffer, keys: readonly Buffer[], beforeMs: number): Promise<number | null> {
    const args = [marker, String(Math.floor(beforeMs))]
    const removed = (await this.runOn(DROP_OLDER, [MARKER_KEY, ...keys], args)) as number
    return removed < 0 ? null : removed
  }

  async lease(name: string, owner: string, forMs: number): Promise<boolean> {
    return (await this.run(LEASE, leaseKey(name), [owner, String(forMs)])) === 1
  }

  async hints(target: string, cursor: string, count: number): Promise<HintPage> {
    const client = await this.connectControl()
    const args = [hintsKey(target), cursor, 'COUNT', String(count)]
    const [next, flat] = (await client.callBuffer('HSCAN', ...args)) as [Buffer, Buffer[]]
    const hints: Hint[] = []
    for (let i = 0; i < flat.length; i += 2) hints.push({ key: flat[i]!, version: flat[i + 1]! })
    return { cursor: next.toString(), hints }
  }

  async dropHint(target: string, key: Buffer, version: Buffer): Promise<void> {
    await this.run(DROP_HINT, hintsKey(target), [key, version])
  }

  async dropCopy(marker: Buffer, key: Buffer, version: Buffer): Promise<void> {
    await this.runOn(DROP_COPY, [MARKER_KEY, key], [marker, version])
  }

  async prepareRegister(ballot: Buffer): Promise<RegisterAnswer> {
    const answer = (await this.run(PREPARE, TOPOLOGY_KEY, [ballot, '0'])) as Buffer
    const rest = answer.subarray(1)
    if (answer[0] === PLUS) return { ok: true, record: rest }
    return answer[0] === ZERO ? { ok: true, record: null } : { ok: false, newest: rest }
  }

  async acceptRegister(record: NewRecord): Promise<RegisterAnswer> {
    const rest = Buffer.concat([record.head.subarray(EXPIRY_AT), record.value])
    const args = [record.head.subarray(0, REPLACED_AT), rest, '0', '0']
    const answer = (await this.run(ACCEPT, TOPOLOGY_KEY, args)) as number | Buffer
    return Buffer.isBuffer(answer)
      ? { ok: false, newest: answer.subarray(0, VERSION_BYTES) }
      : { ok: true, record: null }
  }

  /** @param key null = a script that is given none */
  private run(script: Script, key: Buffer | null, args: readonly (string | Buffer)[]): Promise<unknown> {
    return this.runOn(script, key ? [key] : [], args)
  }

  private async runOn(
    script: Script,
    keys: readonly Buffer[],
    args: readonly (string | Buffer)[],
  ): Promise<unknown> {
    const client = await this.connectControl()
    const rest = [String(keys.length), ...keys, ...args]
    try {
      return await client.callBuffer('EVALSHA', script.sha, ...rest)
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return client.callBuffer('EVAL', script.text, ...rest)
    }
  }

  async scan(cursor: string, match: Buffer | null, count: number): Promise<ScanPage> {
    const args = [cursor, String(Math.min(count, MAX_SCANNED)), String(HEAD_WITH_PROMISE_BYTES - 1)]
    const [next, ...flat] = (await this.run(SCAN, null, match ? [...args, match] : args)) as Buffer[]
    const entries: ScanEntry[] = []
    for (let i = 0; i < flat.length; i += 2) entries.push({ key: flat[i]!, head: flat[i + 1]! })
    return { cursor: next!.toString(), entries }
  }

  async lifeMs(key: Buffer): Promise<number> {
    const client = await this.connectControl()
    return client.pttl(key)
  }

  close(): Promise<void> {
    this.closed = true
    this.shut('the coordinator is closing')
    this.control?.disconnect()
    return Promise.resolve()
  }
}

function infoFields(info: string): (name: string) => string {
  const fields = new Map<string, string>()
  for (const line of info.split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1))
  }
  return (name) => fields.get(name) ?? ''
}
