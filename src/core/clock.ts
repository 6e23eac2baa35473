/**
 * Clocks, passed in. Two kinds that must not be mixed up:
 *
 * - `monotonicMs` measures durations: deadlines, latencies. It never steps, and has no meaning in other processes.
 * - cluster time (cluster/time.ts) is for timestamps: versions, expiry, ages. It is the median of the nodes' clocks, so
 *   that one wrong clock neither pins a key nor expires it early.
 *
 * A version is a hybrid logical clock stamp (Kulkarni et al., "Logical Physical Clocks", 2014): it follows cluster
 * time, never goes back, and is later than every version this coordinator has seen. 12 bytes, compared bytewise:
 *
 *   | milliseconds 6 | counter 2 | coordinator 4 |
 *
 * The coordinator part is random per process, so no two processes make the same version. A record also names the
 * version that it replaced, by milliseconds and counter alone (codec.ts). So that two coordinators do not make the same
 * pair in one millisecond, each counts in its own lane (the counter's low eight bits), and changes it when it sees
 * another one in it. Milliseconds fit 48 bits and so a JavaScript number; the whole version does not, and is never
 * converted to one.
 */

/** Milliseconds that only increase; for durations, not for timestamps. */
export interface MonotonicClock {
  monotonicMs(): number
}

export interface WallClock {
  /** Milliseconds since 1970 by this machine's clock, which may be wrong. */
  wallMs(): number
}

export type Clock = MonotonicClock & WallClock

export type TimerHandle = object

export interface Timers {
  setTimeout(run: () => void, ms: number): TimerHandle
  clearTimeout(handle: TimerHandle): void
  /** Runs after all input that is ready now: one batch, one write per turn of the event loop. */
  endOfTurn(run: () => void): void
}

/** A version's 12 bytes. */
export type Version = Uint8Array

export const VERSION_BYTES = 12
const MAX_COUNTER = 0xffff
/** The year 6429. No clock makes a later version, and following one would exhaust the range. */
const LATEST_MS = 2 ** 47
/** Step of the counter within a lane. */
const LANES = 256

/** A coordinator whose last version is older than this may have ended. */
const LANE_WATCH_MS = 10_000

/** So far ahead of cluster time; where the versions are further ahead already, by so many stamps. */
export const LONGEST_LEAP_MS = 100
const LEAP = 16

/** The version of a value that Rondo did not write: older than every other version. */
export const VERSION_ZERO: Version = new Uint8Array(VERSION_BYTES)

export class VersionClock {
  private readonly clusterMs: () => number
  private readonly coordinator: number
  private lane: number
  private ms = 0
  private counter = 0

  /** @param coordinator random uint32, one per process */
  constructor(clusterMs: () => number, coordinator: number) {
    this.clusterMs = clusterMs
    this.coordinator = coordinator >>> 0
    this.lane = this.coordinator % LANES
  }

  /** Writes a new version, later than all made or observed here, into 12 bytes of `target` at `at`. */
  stamp(target: Buffer, at: number): void {
    const now = Math.floor(this.clusterMs())
    const next = this.counter - (this.counter % LANES) + LANES + this.lane
    if (now > this.ms) {
      this.ms = now
      this.counter = this.lane
    } else if (next <= MAX_COUNTER) {
      this.counter = next
    } else {
      this.ms++
      this.counter = this.lane
    }
    target.writeUIntBE(this.ms, at, 6)
    target.writeUInt16BE(this.counter, at + 6)
    target.writeUInt32BE(this.coordinator, at + 8)
  }

  /** Makes all further stamps later than the version at `at` in `bytes`. */
  observe(bytes: Buffer, at = 0): void {
    const ms = bytes.readUIntBE(at, 6)
    if (ms < this.ms - LANE_WATCH_MS || ms >= LATEST_MS) return
    const counter = bytes.readUInt16BE(at + 6)
    if (counter % LANES === this.lane && bytes.readUInt32BE(at + 8) !== this.coordinator) this.changeLane()
    if (ms < this.ms) return
    if (ms > this.ms) {
      this.ms = ms
      this.counter = counter
    } else if (counter > this.counter) {
      this.counter = counter
    }
  }

  /**
   * Makes all further stamps later than those that other coordinators make within this time, as far as they do not see one
   * of ours before.
   */
  leap(ms: number): void {
    const upTo = Math.floor(this.clusterMs()) + Math.min(Math.ceil(ms), LONGEST_LEAP_MS)
    const counter = this.counter + LEAP * LANES
    if (upTo > this.ms) {
      this.ms = upTo
      this.counter = 0
    } else if (counter <= MAX_COUNTER) {
      this.counter = counter
    } else {
      this.ms++
      this.counter = 0
    }
  }

  /** Another coordinator uses this lane. The step depends on the other bits, so that two rarely move together. */
  private changeLane(): void {
    this.lane = (this.lane + 1 + ((this.coordinator >>> 8) % (LANES - 1))) % LANES
  }
}

/** Negative when `a` is older than `b`, 0 when they are the same version. */
export function compareVersions(a: Version, b: Version): number {
  return Buffer.compare(a, b)
}

/** Approximate cluster time at which a version was made. */
export function versionMs(version: Version): number {
  return Buffer.from(version.buffer, version.byteOffset, version.byteLength).readUIntBE(0, 6)
}

/** 24 hexadecimal digits. */
export function versionText(version: Version): string {
  return Buffer.from(version.buffer, version.byteOffset, version.byteLength).toString('hex')
}

/** Parses 24 hexadecimal digits; null if they are not a version. */
export function parseVersion(text: string): Version | null {
  return /^[0-9a-f]{24}$/i.test(text) ? Buffer.from(text, 'hex') : null
}
