/**
 * Accounts for all memory that clients use in this process: partial requests, arguments, queued transactions, values that
 * are being collected, replies, request bodies, unsent output, and the connections themselves.
 *
 * Each connection has an account. Each account belongs to a user: all clients with a token are one, and without tokens each
 * address is. The ledger is the sum of all:
 *
 *   ledger.used = sum of users = sum of accounts, never negative
 *
 * What happens as memory fills up, `limit` being MAX_CLIENT_MEMORY:
 *
 *   account or its user above its share, or used > 3/4 of the limit   the account waits: it is not read from
 *   account above its share, or used > 7/8 of the limit               requests that need more memory are refused
 *   a user, or all, waiting for long without progress                 accounts without progress are closed, largest first
 *   used > limit                                                      the largest accounts of the largest user are closed
 *
 * A small account never waits, and is never refused or closed, whatever others do. No account waits forever: one that is
 * not read from either makes progress (its client reads replies) or is closed.
 *
 * `add` runs several times per command, so it is three additions and a comparison. Bytes are estimates: the constants below
 * count the overhead of JavaScript objects. Uncollected garbage is not included, which is why the default limit is far
 * below the machine's memory.
 */
import type { Timers } from '../core/clock.ts'
import { RondoError } from '../core/errors.ts'

/** Overhead of a Buffer: an argument, a slice. */
export const ARGUMENT_BYTES = 96
/** One command in flight, without its arguments. */
export const COMMAND_BYTES = 250
/** An idle connection. */
export const IDLE_BYTES = 5 * 1024
export const IDLE_TLS_BYTES = 40 * 1024

/** Of the limit. */
const CONNECTION_SHARE = 1 / 4
const USER_SHARE = 1 / 2
/** Of all unauthenticated clients together. */
const UNAUTHENTICATED_SHARE = 1 / 16
const WAIT_ABOVE = 3 / 4
const REFUSE_ABOVE = 7 / 8
/** Accounts are closed until use is down to this. */
const CUT_TO = 7 / 8

/** An account that uses less than this is always served; the bound is lower when very many connections share the memory. */
const SMALL_BYTES = 64 * 1024
const SMALL_SHARE = 1 / 4

/** How often waiting accounts are checked. */
const LOOK_MS = 50
/** How long accounts may wait for one that makes no progress. */
const STUCK_MS = 5000
/** Then stuck accounts are closed until use is down to this. */
const STUCK_TO = 1 / 2
/** An account makes progress if within STUCK_MS its client reads or sends this fraction of what the account holds. */
const MOVING_PART = 1 / 256

const OUT_OF_MEMORY =
  'Clients have used up the memory of this process (MAX_CLIENT_MEMORY), and this connection uses a large part of it: ' +
  'read the replies that wait, or ask for less at once, and try again.'

/** The owner of an account: a connection. */
export interface Holder {
  /** It may be read from again. */
  resume(): void
  /** Closes the connection. */
  cut(): void
  /** Bytes sent and read by the client so far. */
  moved(): number
}

class Sum {
  bytes = 0
  readonly limit: number
  readonly overflow: () => void
  constructor(limit: number, overflow: () => void) {
    this.limit = limit
    this.overflow = overflow
  }
}

/** The sum that closed accounts add to; it is never read. */
const NOWHERE = new Sum(Infinity, () => undefined)

class User extends Sum {
  readonly name: string
  readonly accounts = new Set<Account>()
  /** The last time at which it was within its share, or no account waited. */
  waitingSinceMs: number
  constructor(name: string, share: number, nowMs: number) {
    super(share, () => undefined)
    this.name = name
    this.waitingSinceMs = nowMs
  }
}

export class Account {
  bytes: number
  /** Cost of the idle connection. */
  readonly base: number
  readonly holder: Holder
  private readonly ledger: Ledger
  private user: User
  /** The sums of the user and of the ledger; NOWHERE once closed. */
  private userSum: Sum
  private total: Sum
  // Progress, as last checked by the ledger.
  movedBytes = 0
  movedAtMs = 0

  /** @internal Ledger.open makes them. */
  constructor(ledger: Ledger, user: User, total: Sum, holder: Holder, base: number) {
    this.ledger = ledger
    this.user = this.userSum = user
    this.total = total
    this.holder = holder
    this.base = base
    this.bytes = 0
    user.accounts.add(this)
    this.add(base)
  }

  /** @param bytes negative = released */
  add(bytes: number): void {
    this.bytes += bytes
    this.userSum.bytes += bytes
    const { total } = this
    total.bytes += bytes
    if (total.bytes > total.limit) total.overflow()
  }

  get userName(): string {
    return this.user.name
  }

  get isSmall(): boolean {
    return this.bytes - this.base <= this.ledger.smallBytes
  }

  /** It must not be read from until it, its user or all clients use less. */
  get mustWait(): boolean {
    if (this.isSmall) return false
    return this.isPastShare || this.user.bytes > this.user.limit || this.ledger.isCrowded
  }

  /** Requests that need more memory are refused. */
  get isRefused(): boolean {
    return !this.isSmall && (this.isPastShare || this.ledger.isNearlyFull)
  }

  /** It uses more than one connection may: waiting for others does not help. */
  get isPastShare(): boolean {
    return this.bytes > this.ledger.connectionShare
  }

  /** Counts a refusal, and returns its error. */
  refusal(): RondoError {
    this.ledger.refused++
    return new RondoError('OVERLOADED', OUT_OF_MEMORY, { outcome: 'not-applied' })
  }

  /** Calls holder.resume() once it need not wait any more. */
  wait(): void {
    this.ledger.waits(this)
  }

  /** Moves it to another user. */
  moveTo(name: string): void {
    if (this.userSum === NOWHERE || this.user.name === name) return
    this.leave()
    this.user = this.userSum = this.ledger.userOf(name)
    this.user.accounts.add(this)
    this.user.bytes += this.bytes
  }

  /** Releases all its memory; later calls of `add` have no effect. */
  close(): void {
    if (this.userSum === NOWHERE) return
    this.leave()
    this.total.bytes -= this.bytes
    this.bytes = 0
    this.userSum = this.total = NOWHERE
    this.ledger.closed(this)
  }

  private leave(): void {
    this.user.bytes -= this.bytes
    this.user.accounts.delete(this)
    if (this.user.accounts.size === 0) this.ledger.forget(this.user)
  }
}

export interface LedgerOptions {
  readonly limitBytes: number
  readonly timers: Timers
  readonly monotonicMs: () => number
  /** Connections were closed: how many, and the memory they used. */
  readonly onCut?: (connections: number, bytes: number) => void
}

/** The user that all unauthenticated clients share, where a token is required. */
export const UNAUTHENTICATED = ''

export class Ledger {
  /** Requests refused for lack of memory. */
  refused = 0
  /** Connections closed for lack of memory. */
  cut = 0
  readonly connectionShare: number
  smallBytes = SMALL_BYTES
  private readonly options: LedgerOptions
  private readonly total: Sum
  private readonly users = new Map<string, User>()
  private readonly waiting = new Set<Account>()
  private openCount = 0
  private freeing = false
  private lookTimer: unknown = null
  private crowdedSinceMs = 0

  constructor(options: LedgerOptions) {
    this.options = options
    this.total = new Sum(options.limitBytes, () => this.overflow())
    this.connectionShare = options.limitBytes * CONNECTION_SHARE
  }

  get limit(): number {
    return this.total.limit
  }

  get used(): number {
    return this.total.bytes
  }

  get accounts(): number {
    return this.openCount
  }

  get isCrowded(): boolean {
    return this.used > this.limit * WAIT_ABOVE
  }

  get isNearlyFull(): boolean {
    return this.used > this.limit * REFUSE_ABOVE
  }

  /**
   * @param user an address, a name for the token, or UNAUTHENTICATED
   * @param base cost of the idle connection
   */
  open(user: string, holder: Holder, base: number): Account {
    this.openCount++
    this.share()
    return new Account(this, this.userOf(user), this.total, holder, base)
  }

  /** @internal */
  userOf(name: string): User {
    let user = this.users.get(name)
    if (!user) {
      const share = name === UNAUTHENTICATED ? UNAUTHENTICATED_SHARE : USER_SHARE
      this.users.set(name, (user = new User(name, this.limit * share, this.options.monotonicMs())))
    }
    return user
  }

  /** @internal */
  forget(user: User): void {
    this.users.delete(user.name)
  }

  /** @internal */
  closed(account: Account): void {
    this.openCount--
    this.waiting.delete(account)
    this.share()
  }

  /** @internal */
  waits(account: Account): void {
    const nowMs = this.options.monotonicMs()
    if (!this.waiting.has(account)) this.noteMoves(account, nowMs)
    if (this.waiting.size === 0) {
      this.crowdedSinceMs = nowMs
      for (const user of this.users.values()) user.waitingSinceMs = nowMs
    }
    this.waiting.add(account)
    this.lookTimer ??= this.options.timers.setTimeout(this.look, LOOK_MS)
  }

  private share(): void {
    this.smallBytes = Math.min(SMALL_BYTES, (this.limit * SMALL_SHARE) / Math.max(1, this.openCount))
  }

  /** Resumes accounts that need not wait any more, and closes stuck ones. */
  private readonly look = (): void => {
    this.lookTimer = null
    this.endStuck()
    for (const account of [...this.waiting]) {
      // Each account that resumes may make the next one wait.
      if (account.mustWait) continue
      this.waiting.delete(account)
      account.holder.resume()
    }
    if (this.waiting.size > 0) this.lookTimer ??= this.options.timers.setTimeout(this.look, LOOK_MS)
  }

  private endStuck(): void {
    const nowMs = this.options.monotonicMs()
    if (!this.isCrowded) this.crowdedSinceMs = nowMs
    const allAreStuck = nowMs - this.crowdedSinceMs >= STUCK_MS
    for (const user of this.users.values()) {
      if (user.bytes <= user.limit) user.waitingSinceMs = nowMs
      const isStuck = nowMs - user.waitingSinceMs >= STUCK_MS
      if (isStuck) this.cutWhile(() => user.bytes > user.limit * STUCK_TO, this.stuckOf(user, nowMs))
    }
    if (allAreStuck) {
      const stuck = [...this.users.values()].flatMap((user) => this.stuckOf(user, nowMs))
      this.cutWhile(() => this.used > this.limit * STUCK_TO, stuck)
    }
    for (const account of this.waiting) this.noteMoves(account, nowMs)
  }

  private stuckOf(user: User, nowMs: number): Account[] {
    return [...user.accounts].filter((account) => {
      if (account.isSmall) return false
      this.noteMoves(account, nowMs)
      return nowMs - account.movedAtMs >= STUCK_MS
    })
  }

  private noteMoves(account: Account, nowMs: number): void {
    const moved = account.holder.moved()
    if (account.movedAtMs > 0 && moved - account.movedBytes <= account.bytes * MOVING_PART) return
    account.movedBytes = moved
    account.movedAtMs = nowMs
  }

  private overflow(): void {
    if (this.freeing) return
    this.freeing = true
    // Deferred: the connection is in the middle of something.
    this.options.timers.endOfTurn(() => {
      this.freeing = false
      this.freeMemory()
    })
  }

  private freeMemory(): void {
    while (this.used > this.limit) {
      const [largest] = [...this.users.values()].sort((a, b) => b.bytes - a.bytes)
      const before = this.used
      const next = [...this.users.values()].reduce(
        (most, user) => (user === largest ? most : Math.max(most, user.bytes)),
        0,
      )
      this.cutWhile(
        // Down to the next largest user; from there both shrink.
        () => this.used > this.limit * CUT_TO && largest!.bytes >= next,
        [...largest!.accounts].filter((account) => !account.isSmall),
      )
      if (this.used === before) return // only small accounts are left
    }
  }

  private cutWhile(needed: () => boolean, accounts: Account[]): void {
    accounts.sort((a, b) => b.bytes - a.bytes)
    let connections = 0
    let bytes = 0
    for (const account of accounts) {
      if (!needed()) break
      connections++
      bytes += account.bytes
      account.holder.cut()
      account.close()
    }
    this.cut += connections
    if (connections > 0) this.options.onCut?.(connections, bytes)
  }
}
