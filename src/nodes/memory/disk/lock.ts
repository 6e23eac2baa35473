/**
 * The lock of a data folder: a file that says which process uses it.
 *
 *   process of this machine, ended       → stale: taken over at once
 *   process of this machine, alive       → refused; a number that another process has now is told by its start time
 *   process of another machine or container → watched: its owner touches the file every few seconds. Unchanged for a while:
 *                                          stale; touched: refused
 *
 * Whoever takes over moves the stale file away first, and looks whether it was the one that was judged. An owner that finds
 * another name in its file, because it was paused for long, stops writing.
 */
import { constants } from 'node:fs'
import { link, open, readFile, readlink, rename, stat, unlink, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { TimerHandle, Timers, WallClock } from '../../../core/clock.ts'
import type { Emit } from '../../../core/events.ts'
import { DiskError } from './load.ts'

export const LOCK = 'lock'
const TOUCH_MS = 3000
/** Several touches must have been missed. */
const WATCH_MS = 12_000
const WATCH_STEPS = 24
const TRIES = 5

export interface LockOptions {
  readonly folder: string
  readonly clock: WallClock
  readonly timers: Timers
  readonly emit: Emit
  /** 64 random bits. */
  readonly randomId: () => string
  /** Another process has it now. */
  readonly onLost: (why: string) => void
  /** For tests. */
  readonly watchMs?: number
}

interface Owner {
  readonly pid: number
  /** When the process started, in a form that only this system knows; '' = unknown. */
  readonly started: string
  /** Processes with the same number here are the same process. */
  readonly machine: string
  readonly host: string
  /** Of this lock. */
  readonly id: string
}

type Found = { readonly text: string; readonly owner: Owner | null }

export class Lock {
  private readonly options: LockOptions
  private readonly path: string
  private text = ''
  private timer: TimerHandle | null = null
  private touching: Promise<void> | null = null

  constructor(options: LockOptions) {
    this.options = options
    this.path = join(options.folder, LOCK)
  }

  /** @throws DiskError if another process uses the folder */
  async take(): Promise<void> {
    const { randomId } = this.options
    this.text = JSON.stringify({
      ...{ pid: process.pid, started: await startOf(process.pid), machine: await machine() },
      ...{ host: hostname(), id: randomId() },
    } satisfies Owner)
    for (let tries = 0; tries < TRIES; tries++) {
      if (await this.create()) return this.touchLater()
      const found = await this.read()
      if (!found) continue
      await this.checkStale(found)
      await this.moveAway(found)
    }
    throw new DiskError(`${this.path} changes hands: another process is starting with this DATA_DIR too.`)
  }

  private async create(): Promise<boolean> {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL
    const file = await open(this.path, flags, 0o600).catch(unless('EEXIST'))
    if (!file) return false
    try {
      await file.writeFile(this.text)
    } finally {
      await file.close()
    }
    return true
  }

  private async read(): Promise<Found | null> {
    const text = await readFile(this.path, 'utf8').catch(unless('ENOENT'))
    if (text === null) return null
    try {
      return { text, owner: JSON.parse(text) as Owner }
    } catch {
      return { text, owner: null } // it is just being written, or its writer ended there
    }
  }

  /** @throws DiskError if its owner is there */
  private async checkStale({ owner }: Found): Promise<void> {
    if (owner?.machine === (await machine())) {
      if (!isAlive(owner.pid)) return
      const started = await startOf(owner.pid)
      if (started !== '' && owner.started !== '' && started !== owner.started) return
      throw this.inUse(owner)
    }
    if (!(await this.isUntouched())) throw this.inUse(owner)
  }

  private inUse(owner: Owner | null): DiskError {
    const who = owner ? `process ${owner.pid} on ${owner.host}` : 'another process'
    return new DiskError(
      `DATA_DIR ${this.options.folder} is in use by ${who}: two would destroy each other's data. Stop that one, or set ` +
        'DATA_DIR to another folder.',
    )
  }

  private async isUntouched(): Promise<boolean> {
    const { watchMs = WATCH_MS, timers } = this.options
    const touched = async () => (await stat(this.path).catch(unless('ENOENT')))?.mtimeMs
    const before = await touched()
    const stepMs = watchMs / WATCH_STEPS
    for (let step = 0; step < WATCH_STEPS; step++) {
      await new Promise<void>((next) => timers.setTimeout(next, stepMs))
      if ((await touched()) !== before) return false
    }
    return true
  }

  private async moveAway(found: Found): Promise<void> {
    const { folder, emit, randomId } = this.options
    const aside = `${this.path}.${randomId()}`
    const moved = await rename(this.path, aside).then(() => true, unless('ENOENT'))
    if (!moved) return
    // Somebody else may have been faster, and this is their new one.
    if ((await readFile(aside, 'utf8')) !== found.text) await link(aside, this.path).catch(unless('EEXIST'))
    else emit({ kind: 'disk-lock-stale', path: folder, pid: found.owner?.pid ?? 0 })
    await unlink(aside).catch(unless('ENOENT'))
  }

  private touchLater(): void {
    this.timer = this.options.timers.setTimeout(() => {
      this.touching = this.touch().finally(() => (this.touching = null))
    }, TOUCH_MS)
  }

  private async touch(): Promise<void> {
    try {
      const found = await this.read()
      if (found?.text !== this.text) {
        this.timer = null
        const by = found?.owner ? ` by process ${found.owner.pid} on ${found.owner.host}` : ''
        return this.options.onLost(`its lock was taken over${by}`)
      }
      const nowSeconds = this.options.clock.wallMs() / 1000
      await utimes(this.path, nowSeconds, nowSeconds)
    } catch {
      // A disk that fails is noticed by whoever writes data; another owner cannot be there before we are back.
    }
    if (this.timer) this.touchLater()
  }

  async release(): Promise<void> {
    if (this.timer) this.options.timers.clearTimeout(this.timer)
    this.timer = null
    await this.touching
    if ((await this.read().catch(() => null))?.text === this.text)
      await unlink(this.path).catch(() => undefined)
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Field 22 of /proc/…/stat: the clock tick in which the process started. */
async function startOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The second field is the name in parentheses, which may have spaces.
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}

/** This machine since it was started, and on it the container. */
async function machine(): Promise<string> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')
  const processes = await readlink('/proc/self/ns/pid').catch(() => '')
  return [hostname(), boot.trim(), processes].join(' ')
}

function unless(code: string): (error: NodeJS.ErrnoException) => null {
  return (error) => {
    if (error.code === code) return null
    throw error
  }
}
