/**
 * How far the log is known to be on the disk, in a small file beside it: a log that is shorter later on was cut off by
 * somebody or something, and not by the end of the process. Written about once a second and never synced: an old note only
 * notices less.
 *
 *   log-000003 81920 1c291ca3      the log, bytes, CRC-32 of the text before
 */
import { crc32 } from 'node:zlib'
import type { Disk, DiskFile } from './disk.ts'
import { logName } from './names.ts'

export const EXTENT = 'extent'
const NOTE_BYTES = 64
const NOTE = /^(log-\d{6,15}) (\d{1,15}) ([0-9a-f]{8}) *\n$/

export class Extent {
  private readonly disk: Disk
  private file: DiskFile | null = null
  private noted = ''
  private noting: Promise<void> | null = null

  constructor(disk: Disk) {
    this.disk = disk
  }

  /** Errors do not matter. */
  note(generation: number, bytes: number): void {
    const text = `${logName(generation)} ${bytes} `
    if (text === this.noted || this.noting) return
    this.noted = text
    const note = Buffer.from(`${text}${sumOf(text)}`.padEnd(NOTE_BYTES - 1) + '\n', 'latin1')
    this.noting = this.write(note)
      .catch(() => undefined)
      .finally(() => (this.noting = null))
  }

  private async write(note: Buffer): Promise<void> {
    this.file ??= await this.disk.create(EXTENT)
    await this.file.write(note, 0)
  }

  async close(): Promise<void> {
    await this.noting
    await this.file?.close().catch(() => undefined)
    this.file = null
  }

  /** The note of an earlier process; null = there is none. */
  static async read(disk: Disk): Promise<{ readonly file: string; readonly bytes: number } | null> {
    const file = await disk.open(EXTENT).catch(() => null)
    if (!file) return null
    try {
      const note = Buffer.alloc(NOTE_BYTES)
      const read = await file.read(note, 0)
      const [, name, bytes, sum] = NOTE.exec(note.toString('latin1', 0, read)) ?? []
      return name !== undefined && sum === sumOf(`${name} ${bytes} `)
        ? { file: name, bytes: Number(bytes) }
        : null
    } finally {
      await file.close()
    }
  }
}

function sumOf(text: string): string {
  return crc32(text).toString(16).padStart(8, '0')
}
