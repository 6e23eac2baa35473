/** The built program (`npm run build`) as a process of its own, in a folder without a configuration. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))
/** Between two looks: longer when what is waited for takes long, so that asking does not slow it down. */
const LEAST_PAUSE_MS = 10
const LONGEST_PAUSE_MS = 50
const LIMIT_MS = 30_000

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export class Program {
  readonly ended: Promise<Ended>
  /** Lines for people. */
  stdout = ''
  /** Log lines, and why it did not start. */
  stderr = ''
  private readonly child: ChildProcess
  private readonly dir = mkdtempSync(join(tmpdir(), 'rondo-program-'))
  private isGone = false

  /**
   * @param env the whole environment, but for PATH; with `group` signals reach its workers, too; `folders` are made in its
   * folder; with `mostFileBytes` no file grows beyond that, as on a full disk; nobody reads what it writes to those that are
   * `closed`
   */
  constructor(
    env: Record<string, string>,
    {
      group = false,
      folders = [] as string[],
      mostFileBytes = 0,
      closed = [] as ('stdout' | 'stderr')[],
    } = {},
  ) {
    for (const name of folders) mkdirSync(join(this.dir, name))
    const limited = `trap '' XFSZ; ulimit -f ${Math.ceil(mostFileBytes / 512)}; exec "$0" "$1"`
    const [command, args] =
      mostFileBytes > 0 ? ['sh', ['-c', limited, process.execPath, MAIN]] : [process.execPath, [MAIN]]
    this.child = spawn(command, args, {
      cwd: this.dir,
      env: { PATH: process.env.PATH, PORT: '0', RESP_PORT: '0', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: group,
    })
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.stdout += text))
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    for (const name of closed) this.child[name]!.destroy()
    this.ended = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        this.isGone = true
        rmSync(this.dir, { recursive: true, force: true })
        resolve({ code, signal })
      })
    })
  }

  get pid(): number {
    return this.child.pid!
  }

  /** The log lines so far, parsed. */
  get log(): Record<string, unknown>[] {
    return this.stderr
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  /** Where it listens, once it says so. */
  async listening(): Promise<number> {
    const found = await this.until(() => /listens on \w+:\/\/\S+:(\d+)$/m.exec(this.stdout)?.[1])
    return Number(found)
  }

  /** Resolves once a log line has this in its sentence. */
  async logged(part: string): Promise<void> {
    await this.until(() => this.log.find(({ msg }) => String(msg).includes(part)))
  }

  /** Polls until there is a result; fails when the program ends first, or after thirty seconds. */
  async until<T>(find: () => T | undefined | Promise<T | undefined>): Promise<T> {
    for (let waitedMs = 0; waitedMs < LIMIT_MS;) {
      const found = await find()
      if (found !== undefined) return found
      if (this.isGone) break
      const pauseMs = Math.min(LEAST_PAUSE_MS + waitedMs / 20, LONGEST_PAUSE_MS)
      await delay(pauseMs)
      waitedMs += pauseMs
    }
    throw new Error(`the program did not get there:\n${this.stdout}\n${this.stderr}`)
  }

  signal(name: NodeJS.Signals, to: 'process' | 'group' = 'process'): void {
    process.kill(to === 'group' ? -this.pid : this.pid, name)
  }

  /** Ends it whatever it does; its workers follow. */
  async stop(): Promise<void> {
    if (!this.isGone) this.child.kill('SIGKILL')
    await this.ended
  }
}
