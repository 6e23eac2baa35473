/**
 * Reads what a memory node has on its disk: the newest snapshot, and then the logs, in their order.
 *
 * - What is torn off at the end of the last log was never acknowledged as stored: it is dropped, and that is no loss.
 * - Where something is damaged or missing, everything before it in that file is taken, and what follows in it is not. Other
 *   files still count: each change says what is there afterwards. Then the node has lost something, and says so.
 */
import type { AboutRun, Story } from './changes.ts'
import { tellChanges } from './changes.ts'
import type { Disk } from './disk.ts'
import { Extent } from './extent.ts'
import { FORMAT, readFrames, type FileEnd, type FileKind } from './frames.ts'
import { generationsIn, logName, snapshotName, type Generations } from './names.ts'
import { MARKER_KEY } from '../../../core/keys.ts'

/** The node cannot be used with what is on its disk. The message says what to do. */
export class DiskError extends Error {}

export interface Damage {
  readonly file: string
  /** Where in the file, in bytes. */
  readonly at: number
  readonly why: string
}

export interface Loaded {
  readonly generations: Generations
  readonly entries: ReadonlyMap<string, { readonly bytes: Buffer; readonly endsAtMs: number }>
  readonly hints: ReadonlyMap<string, ReadonlyMap<string, Buffer>>
  readonly notes: ReadonlyMap<string, readonly [text: string, atMs: number]>
  readonly evictedKeys: number
  readonly damages: readonly Damage[]
  /** Of the last log; null = there is none. */
  readonly torn: { readonly file: string; readonly at: number; readonly bytes: number } | null
  /** Where the last log ends. */
  readonly logEnd: number
  /** Acknowledged writes may be missing. */
  readonly lost: boolean
  readonly bytes: number
  readonly snapshotBytes: number
}

export interface LoadOptions {
  readonly node: string
  readonly disk: Disk
  /** Called now and then. */
  readonly progress: (bytes: number, keys: number) => void
}

const MARKER = MARKER_KEY.toString('latin1')

/** @throws DiskError if it must not be used */
export async function load({ node, disk, progress }: LoadOptions): Promise<Loaded> {
  const generations = generationsIn(await disk.list())
  const reading = new Reading(node)
  const damages: Damage[] = generations.missing.map((file) => ({ file, at: 0, why: 'it is missing' }))
  let bytes = 0
  let snapshotBytes = 0
  const read = async (name: string, kind: FileKind, generation: number): Promise<FileEnd> => {
    const file = await disk.open(name)
    try {
      reading.begin(generation)
      const end = await readFrames(file, kind, (payload, at) => {
        tellChanges(payload, reading)
        progress(bytes + at + payload.length, reading.entries.size)
      })
      bytes += await file.size()
      if (reading.stranger !== null) throw new DiskError(strangerSentence(disk, node, reading.stranger))
      if (end.kind === 'newer') throw new DiskError(newerSentence(disk, name, end.format))
      if (end.kind === 'damaged') damages.push({ file: name, at: end.at, why: end.why })
      return end
    } finally {
      await file.close()
    }
  }
  if (generations.snapshot > 0) {
    const name = snapshotName(generations.snapshot)
    const end = await read(name, 'snapshot', generations.snapshot)
    if (end.kind === 'torn') damages.push({ file: name, at: end.at, why: 'it is cut off' })
    else if (end.kind === 'whole' && !reading.ended)
      damages.push({ file: name, at: end.at, why: 'its end is missing' })
    snapshotBytes = bytes
  }
  let last: { readonly name: string; readonly end: FileEnd } | null = null
  for (const generation of generations.logs) {
    // A log is complete before the next one begins, unless it could not be written any more, and then that one is empty.
    const torn: typeof last = last?.end.kind === 'torn' ? last : null
    const changesBefore = reading.changes
    last = { name: logName(generation), end: await read(logName(generation), 'log', generation) }
    if (torn?.end.kind === 'torn' && reading.changes > changesBefore)
      damages.push({ file: torn.name, at: torn.end.at, why: 'it is cut off, and the next log goes on' })
  }
  const extent = await Extent.read(disk)
  if (last && last.end.kind !== 'newer' && extent?.file === last.name && last.end.at < extent.bytes)
    damages.push({
      file: last.name,
      at: last.end.at,
      why: `it was ${extent.bytes} bytes long, and is cut off`,
    })
  const torn = last?.end.kind === 'torn' ? { file: last.name, at: last.end.at, bytes: last.end.bytes } : null
  return {
    ...{ generations, damages, torn, bytes, snapshotBytes },
    entries: reading.entries,
    hints: reading.hints,
    notes: reading.notes,
    evictedKeys: reading.evictedKeys,
    logEnd: last && last.end.kind !== 'newer' ? last.end.at : 0,
    lost: damages.length > 0 || reading.hasLost,
  }
}

function newerSentence(disk: Disk, name: string, format: number): string {
  return (
    `${disk.path}/${name} was written by a newer Rondo (format ${format}; this one reads up to ${FORMAT}). ` +
    'Start the newer one, or set DATA_DIR to another folder.'
  )
}

function strangerSentence({ path }: Disk, node: string, stranger: string): string {
  return (
    `${path} is the folder of node ${node}, and its files are those of ${stranger}. Move them to where they belong, ` +
    'or set DATA_DIR to another folder.'
  )
}

/** What has been read so far. */
class Reading implements Story {
  readonly entries = new Map<string, { bytes: Buffer; endsAtMs: number }>()
  readonly hints = new Map<string, Map<string, Buffer>>()
  readonly notes = new Map<string, readonly [string, number]>()
  evictedKeys = 0
  /** Of this file: its end was seen. */
  ended = false
  /** The files are those of another node. */
  stranger: string | null = null
  /** Number of changes of what the node holds. */
  changes = 0

  private readonly node: string
  private generation = 0
  private run: AboutRun | null = null
  private isClosed = true
  private hadLost = false

  constructor(node: string) {
    this.node = node
  }

  begin(generation: number): void {
    this.generation = generation
    this.ended = false
  }

  /** A run that did not end in order keeps everything only if it waited for the disk. */
  get hasLost(): boolean {
    return this.hadLost || (!this.isClosed && this.run?.fsync !== 'always')
  }

  about({ node, generation }: { node: string; generation: number }): void {
    if (node !== this.node) this.stranger = node
    if (generation !== this.generation) throw new Error(`it is the file of generation ${generation}`)
  }

  opened(run: AboutRun): void {
    if (run.lost) this.hadLost = true
    this.run = run
    this.isClosed = false
  }

  closed(): void {
    this.isClosed = true
  }

  evictedBefore(keys: number): void {
    this.evictedKeys = keys
  }

  end(): void {
    this.ended = true
  }

  set(name: string, bytes: Buffer, endsAtMs: number): void {
    this.changes++
    this.entries.set(name, { bytes, endsAtMs })
    // The cluster has seen what was lost, and the marker tells it from now on.
    if (name === MARKER) this.hadLost = false
  }

  remove(name: string, evicted: boolean): void {
    this.changes++
    this.entries.delete(name)
    if (evicted) this.evictedKeys++
  }

  clear(): void {
    this.changes++
    this.entries.clear()
    this.hints.clear()
    this.notes.clear()
  }

  hint(target: string, name: string, version: Buffer): void {
    this.changes++
    const hints = this.hints.get(target) ?? new Map<string, Buffer>()
    this.hints.set(target, hints.set(name, version))
  }

  dropHint(target: string, name: string): void {
    this.changes++
    this.hints.get(target)?.delete(name)
  }

  note(id: string, text: string, atMs: number): void {
    this.notes.set(id, [text, atMs])
  }
}
