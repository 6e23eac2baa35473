/**
 * Writes all that a memory node holds into a file, a little at a time, while the node goes on changing.
 *
 * The file is no picture of one moment: an early part may show what a late part does not. That is enough, because the log
 * that began before has every change since, and each change says what is there afterwards. A key that is there all the time
 * is in it; one that comes or goes meanwhile is in the log.
 */
import type { DiskFile } from './disk.ts'
import { fileHead, FrameWriter } from './frames.ts'
import type { MemoryStorage } from '../memory-storage.ts'

/** So much is made ready in one go, and then others have their turn. */
const SLICE_BYTES = 64 * 1024
const PAGE = 16
const PAGES_PER_SLICE = 32
/** So much is written before the disk is waited for: no flood at the end. */
const SYNC_BYTES = 4 * 1024 * 1024

export interface SnapshotOptions {
  readonly node: string
  readonly generation: number
  readonly storage: MemoryStorage
  readonly wallMs: () => number
  /** Others have their turn. */
  readonly pause: () => Promise<void>
  /** Throws if it is not wanted any more. */
  readonly check: () => void
}

/** @returns how long the file is, and how many entries it has */
export async function writeSnapshot(
  file: DiskFile,
  options: SnapshotOptions,
): Promise<{ bytes: number; entries: number }> {
  const { node, generation, storage } = options
  const out = new Output(file, options)
  await out.begin()
  out.writer.about({ node, generation })
  out.writer.evictedBefore(storage.evictedKeys)
  const entries = await writeEntries(out, options)
  for (const [target, hints] of [...storage.allHints()]) {
    let place = 0
    do {
      const page = hints.pageAbove(place, PAGE)
      for (const { key, version } of page.hints) {
        out.writer.hint(target, key.toString('latin1'), version)
      }
      place = page.next
      await out.turn()
    } while (place > 0)
  }
  for (const note of storage.notes.all()) out.writer.note(...note)
  out.writer.end(entries)
  await out.end()
  return { bytes: out.position, entries }
}

async function writeEntries(out: Output, { storage, wallMs }: SnapshotOptions): Promise<number> {
  let count = 0
  let place = 0
  do {
    const page = storage.pageAbove(place, PAGE)
    const nowMs = wallMs()
    for (const entry of page.entries) {
      if (!entry) continue
      out.writer.set(entry.name, entry.bytes, nowMs + entry.lifeMs)
      count++
    }
    place = page.next
    await out.turn()
  } while (place > 0)
  return count
}

class Output {
  readonly writer = new FrameWriter()
  position = 0
  private readonly file: DiskFile
  private readonly options: SnapshotOptions
  private pages = 0
  private unsynced = 0

  constructor(file: DiskFile, options: SnapshotOptions) {
    this.file = file
    this.options = options
  }

  begin(): Promise<void> {
    return this.write(fileHead('snapshot'))
  }

  /** A page is ready. */
  async turn(): Promise<void> {
    if (this.writer.length >= SLICE_BYTES) await this.flush()
    else if (++this.pages % PAGES_PER_SLICE === 0) await this.options.pause()
  }

  async end(): Promise<void> {
    await this.flush()
    await this.file.sync()
  }

  private async flush(): Promise<void> {
    await this.write(this.writer.taken())
    this.writer.reset()
    if (this.unsynced < SYNC_BYTES) return
    this.unsynced = 0
    await this.file.sync()
  }

  private async write(bytes: Buffer): Promise<void> {
    this.options.check()
    await this.file.write(bytes, this.position)
    this.position += bytes.length
    this.unsynced += bytes.length
  }
}
