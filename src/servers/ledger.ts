/**
 * The account of everything that clients can make this process hold: half requests, arguments, queued transactions, values
 * that are being collected, replies, request bodies, what the kernel has not taken, and the connections themselves.
 *
 * Each connection has an account, each account belongs to a user (a token, or the address of who shows none), and the
 * ledger is the sum of all:
 *
 *   ledger.used = sum of users = sum of accounts, never negative
 *
 * What happens as memory fills up, `limit` being MAX_CLIENT_MEMORY:
 *
 *   an account past its share, one of a user past its share, or any past 3/4   waits: it is not read from
 *   an account past its share, or any past 7/8                                 is refused what would make it hold more
 *   an account of a user, or of all, that wait for long while nothing moves    is cut, the largest first
 *   the limit itself                                                           the largest account of the largest user is cut
 *
 * An account with little in it neither waits nor is it refused or cut, whatever others do. Nobody waits without an end: what
 * is not read from either moves (its replies are taken), or is cut.
 *
 * `add` passes with every command, several times: three additions and a comparison. Bytes are estimates: what JavaScript
 * needs around them is counted by the constants below. Garbage that is not collected yet is not in them, which is why the
 * default for the limit is far below the machine's memory.
 */
import type { Timers } from '../core/clock.ts'
import { RondoError } from '../core/errors.ts'

/** What an object around some bytes costs: an argument, a slice. */
export const ARGUMENT_BYTES = 96
/** One command under way, beside its arguments. */
export const COMMAND_BYTES = 250
/** A connection that does nothing. */
export const IDLE_BYTES = 5 * 1024
export const IDLE_TLS_BYTES = 40 * 1024

/** Of the limit. */
const CONNECTION_SHARE = 1 / 4
const USER_SHARE = 1 / 2
/** Of all unauthenticated clients together. */
const UNAUTHENTICATED_SHARE = 1 / 16
const WAIT_ABOVE = 3 / 4
const REFUSE_ABOVE = 7 / 8
/** When accounts are cut, down to here. */
const CUT_TO = 7 / 8

/** An account that holds less than this is served in any case; less, where very many share the memory. */
const SMALL_BYTES = 64 * 1024
const SMALL_SHARE = 1 / 4

/** How often waiting accounts are looked at. */
const LOOK_MS = 50
/** So long may accounts wait while one that holds much does not move. */
const STUCK_MS = 5000
/** Then there is to be room for those that go on. */
const STUCK_TO = 1 / 2
/** An account moves if within that time it takes or sends this part of what it holds. */
const MOVING_PART = 1 / 256

const OUT_OF_MEMORY =
  'Clients make this process hold as much as it may (MAX_CLIENT_MEMORY), and this connection has a large part of it: ' +
  'take the answers that wait, or ask for less at once, and try again.'

/** Whose memory it is. */
export interface Holder {
  /** It need not wait any more. */
  resume(): void
  /** Ends the connection. */
  cut(): void
  /** Bytes that came from the client, and that it took, so far. */
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

/** Where closed accounts count: nobody looks. */
const NOWHERE = new Sum(Infinity, () => undefined)

class User extends Sum {
  readonly name: string
  readonly accounts = new Set<Account>()
  /** Within its share until then, or nobody waited. */
  waitingSinceMs: number
  constructor(name: string, share: number, nowMs: number) {
    super(share, () => undefined)
    this.name = name
    this.waitingSinceMs = nowMs
  }
}

export class Account {
  /** Held now. */
  bytes: number
  /** What the connection costs while it does nothing. */
  readonly base: number
  readonly holder: Holder
  private readonly ledger: Ledger
  private user: User
  /** As the user and the ledger, until it is closed. */
  private userSum: Sum
  private total: Sum
  // For who looks whether it moves.
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

  /** @param bytes negative: no longer held */
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

  /** It is not to be read from until it, its user or all hold less. */
  get mustWait(): boolean {
    if (this.isSmall) return false
    return this.isPastShare || this.user.bytes > this.user.limit || this.ledger.isCrowded
  }

  /** What would make it hold more is refused. */
  get isRefused(): boolean {
    return !this.isSmall && (this.isPastShare || this.ledger.isNearlyFull)
  }

  /** It holds more than any one connection may: to wait for others does not help. */
  get isPastShare(): boolean {
    return this.bytes > this.ledger.connectionShare
  }

  /** Counts it, and says why. */
  refusal(): RondoError {
    this.ledger.refused++
    return new RondoError('OVERLOADED', OUT_OF_MEMORY, { outcome: 'not-applied' })
  }

  /** The holder is told to resume when it need not wait any more. */
  wait(): void {
    this.ledger.waits(this)
  }

  /** From now on it is this user's. */
  moveTo(name: string): void {
    if (this.userSum === NOWHERE || this.user.name === name) return
    this.leave()
    this.user = this.userSum = this.ledger.userOf(name)
    this.user.accounts.add(this)
    this.user.bytes += this.bytes
  }

  /** Nothing is held any more; what is added or taken off later counts nowhere. */
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
  /** Connections were cut: how many, and what they held. */
  readonly onCut?: (connections: number, bytes: number) => void
}

/** The user that all unauthenticated clients share, where a token is required. */
export const UNAUTHENTICATED = ''

export class Ledger {
  /** So often something was refused because memory was short. */
  refused = 0
  /** Connections ended for it. */
  cut = 0
  readonly connectionShare: number
  smallBytes = SMALL_BYTES
  private readonly options: LedgerOptions
  private readonly total: Sum
  private readonly users = new Map<string, User>()
  private readonly waiting = new Set<Account>()
  private openCount = 0
  private relieving = false
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
   * @param base what the connection costs while it does nothing
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

  /** Who waited and need not is resumed; where nothing moves, room is made. */
  private readonly look = (): void => {
    this.lookTimer = null
    this.endStuck()
    for (const account of [...this.waiting]) {
      // Each that goes on may make the next one wait.
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
    if (this.relieving) return
    this.relieving = true
    // Not in the middle of what the connection is doing.
    this.options.timers.endOfTurn(() => {
      this.relieving = false
      this.relieve()
    })
  }

  private relieve(): void {
    while (this.used > this.limit) {
      const [largest] = [...this.users.values()].sort((a, b) => b.bytes - a.bytes)
      const before = this.used
      const next = [...this.users.values()].reduce(
        (most, user) => (user === largest ? most : Math.max(most, user.bytes)),
        0,
      )
      this.cutWhile(
        // Down to the next largest user, and then it is both their turn.
        () => this.used > this.limit * CUT_TO && largest!.bytes >= next,
        [...largest!.accounts].filter((account) => !account.isSmall),
      )
      if (this.used === before) return // nothing but small ones
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

  /** What always holds, for tests: null, or what does not. */
  imbalance(): string | null {
    let users = 0
    let accounts = 0
    for (const user of this.users.values()) {
      users += user.bytes
      let own = 0
      for (const account of user.accounts) {
        if (account.bytes < account.base)
          return `an account of ${user.name} holds ${account.bytes}, less than its base`
        own += account.bytes
      }
      if (own !== user.bytes) return `the user ${user.name} has ${user.bytes}, its accounts ${own}`
      accounts += own
    }
    return users === this.used && accounts === this.used
      ? null
      : `${this.used} used, ${users} of users, ${accounts} of accounts`
  }
}
