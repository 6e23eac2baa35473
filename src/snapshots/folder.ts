/** SNAPSHOT_DIR: what is in it. Several coordinators may share it, those of other clusters too. */
import { constants } from 'node:fs'
import { access, lstat, mkdir, readdir, unlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { RondoError } from '../core/errors.ts'
import { sentenceOf } from '../core/sentence.ts'
import { isBeingWritten } from './file-writer.ts'
import { SnapshotFile } from './file-reader.ts'
import { DamagedSnapshot } from './format.ts'
import { fileOf, hostPart, isSaved, isScheduled, nameOf, writerOf, type Writer } from './names.ts'

const PRIVATE_FOLDER = 0o700
/** A file that is being written, by another machine, changes more often than this. */
const ABANDONED_MS = 600_000
/** Files read at once. */
const AT_ONCE = 8
/** Of a page: each costs a read of its end. */
const MOST_LISTED = 1000

export interface ListedSnapshot {
  readonly name: string
  /** Of the file. */
  readonly bytes: number
  readonly found: Found
}

export type Found =
  | {
      readonly kind: 'complete'
      readonly takenAtMs: number
      readonly keys: number
      readonly epoch: number
      readonly replicas: number
    }
  | { readonly kind: 'damaged'; readonly why: string }

export class SnapshotFolder {
  readonly path: string
  private readonly writer: Writer
  private readonly runs: (pid: number) => boolean

  /** @param runs whether a process of this machine runs */
  constructor(path: string, writer: Writer, runs = isAlive) {
    this.path = resolve(path)
    this.writer = writer
    this.runs = runs
  }

  /** Makes it, if need be. @throws RondoError UNAVAILABLE if it cannot be used */
  async prepare(): Promise<void> {
    try {
      await mkdir(this.path, { mode: PRIVATE_FOLDER }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error
      })
      await access(this.path, constants.R_OK | constants.W_OK | constants.X_OK)
      await readdir(this.path)
    } catch (error) {
      throw this.unusable(error)
    }
  }

  /** Sorted by name; the first ones if there are too many. @throws RondoError UNAVAILABLE */
  async list(): Promise<{ snapshots: readonly ListedSnapshot[]; more: number }> {
    const names = await this.names()
    const shown = names.slice(0, MOST_LISTED)
    const snapshots: ListedSnapshot[] = []
    for (let i = 0; i < shown.length; i += AT_ONCE) {
      const some = await Promise.all(shown.slice(i, i + AT_ONCE).map((name) => this.look(name)))
      snapshots.push(...some.filter((one) => one !== null))
    }
    return { snapshots, more: names.length - shown.length }
  }

  /** Names of the schedule's, the oldest first; only of files. @throws RondoError UNAVAILABLE */
  async scheduled(): Promise<readonly string[]> {
    return (await this.names(true)).filter(isScheduled)
  }

  /** The same of those of POST /save. @throws RondoError UNAVAILABLE */
  async saved(): Promise<readonly string[]> {
    return (await this.names(true)).filter(isSaved)
  }

  async has(name: string): Promise<boolean> {
    return lstat(join(this.path, fileOf(name))).then(
      () => true,
      () => false,
    )
  }

  /** @throws RondoError */
  async open(name: string): Promise<SnapshotFile> {
    try {
      return await SnapshotFile.open(join(this.path, fileOf(name)))
    } catch (error) {
      throw await this.refusal(name, 'restored', error)
    }
  }

  /** @throws RondoError */
  async remove(name: string): Promise<void> {
    const path = join(this.path, fileOf(name))
    try {
      await unlink(path)
    } catch (error) {
      const isFolder = await lstat(path).then(
        (found) => found.isDirectory(),
        () => false,
      )
      throw await this.refusal(name, 'deleted', isFolder ? new DamagedSnapshot('it is a folder') : error)
    }
  }

  /** Removes what processes have left that were killed while they wrote. @returns how many there were */
  async removeLeftovers(nowMs: number): Promise<number> {
    let removed = 0
    for (const file of await readdir(this.path)) {
      const writer = writerOf(file)
      if (!writer || !(await this.isAbandoned(join(this.path, file), writer, nowMs))) continue
      await unlink(join(this.path, file)).then(
        () => removed++,
        () => undefined, // another one removes them too
      )
    }
    return removed
  }

  private async isAbandoned(path: string, { host, pid }: Writer, nowMs: number): Promise<boolean> {
    const { writer } = this
    if (isBeingWritten(path)) return false
    if (host === hostPart(writer.host) && (pid === writer.pid || !this.runs(pid))) return true
    const found = await lstat(path).catch(() => null)
    return found !== null && nowMs - found.mtimeMs > ABANDONED_MS
  }

  private async names(filesOnly = false): Promise<string[]> {
    try {
      const entries = await readdir(this.path, { withFileTypes: true })
      const wanted = filesOnly ? entries.filter((entry) => entry.isFile()) : entries
      return wanted
        .map((entry) => nameOf(entry.name))
        .filter((name) => name !== null)
        .sort()
    } catch (error) {
      throw this.unusable(error)
    }
  }

  /** Null: it is gone. */
  private async look(name: string): Promise<ListedSnapshot | null> {
    const path = join(this.path, fileOf(name))
    try {
      const file = await SnapshotFile.open(path)
      await file.close()
      const { takenAtMs, keys, epoch, replicas } = file.end
      return { name, bytes: file.fileBytes, found: { kind: 'complete', takenAtMs, keys, epoch, replicas } }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT') return null
      const size = await lstat(path).then(
        (found) => found.size,
        () => 0,
      )
      return { name, bytes: size, found: { kind: 'damaged', why: whyOf(error) } }
    }
  }

  /** @param what cannot be done */
  private async refusal(name: string, what: 'restored' | 'deleted', error: unknown): Promise<RondoError> {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') {
      return new RondoError('SNAPSHOT_NOT_FOUND', `There is no snapshot ${name} in SNAPSHOT_DIR here.`)
    }
    if (error instanceof DamagedSnapshot || ODD_KINDS.has(code ?? '')) return damaged(name, error, what)
    const unusable = await this.prepare().then(
      () => null,
      (found: RondoError) => found,
    )
    if (unusable) return unusable
    const permitted =
      code === 'EACCES' || code === 'EPERM' ? ` Give this user the permission for ${fileOf(name)}.` : ''
    return new RondoError(
      'UNAVAILABLE',
      `Snapshot ${name} in SNAPSHOT_DIR cannot be ${what}: ${whyOf(error)}.${permitted}`,
    )
  }

  private unusable(error: unknown): RondoError {
    return new RondoError(
      'UNAVAILABLE',
      `SNAPSHOT_DIR ${this.path} cannot be used: ${sentenceOf(error)}. It has to be a folder in which this user may create ` +
        'files; the folder above it has to be there.',
    )
  }
}

export function damaged(name: string, error: unknown, what = 'restored'): RondoError {
  return new RondoError('SNAPSHOT_DAMAGED', `Snapshot ${name} cannot be ${what}: ${whyOf(error)}.`)
}

/** What opening something else than a file fails with. */
const ODD_KINDS: ReadonlyMap<string, string> = new Map([
  ['ELOOP', 'it is a link'],
  ['ENXIO', 'it is not a file'], // a socket, or a device that is not there
  ['EOPNOTSUPP', 'it is not a file'], // a socket, elsewhere than on Linux
  ['ENODEV', 'it is not a file'],
])

function whyOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException
  return ODD_KINDS.get(code ?? '') ?? (code === 'EACCES' ? 'permission denied' : sentenceOf(error))
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
