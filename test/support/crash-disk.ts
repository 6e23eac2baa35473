/**
 * A disk in memory that can lose its power. What was written and not synced survives in part: a file keeps what it had at
 * its last sync and, of what came after, so much as chance leaves; names in the folder that were not synced are undone
 * from the last one on. A process that is killed leaves everything that was written.
 */
import type { Disk, DiskFile } from '../../src/nodes/memory/disk/disk.ts'
import type { Random } from './random.ts'

type Operation = 'create' | 'write' | 'sync' | 'truncate' | 'rename' | 'sync-folder'

class Content {
  bytes: Buffer = Buffer.alloc(0)
  synced = 0

  copy(length: number): Content {
    const copy = new Content()
    copy.bytes = Buffer.from(this.bytes.subarray(0, length))
    copy.synced = length
    return copy
  }
}

export class CrashDisk implements Disk {
  readonly path = '/crash-disk'
  syncs = 0
  /** Fails an operation with this; `part`: so many bytes of a write are done before. */
  fault: ((operation: Operation, name: string) => { error: Error; part?: number } | null) | null = null
  /** The latency of each operation; by default it ends in this turn. */
  pause: (name: string) => Promise<void> = () => Promise.resolve()
  /** Short writes can be made at once. */
  writesNow = false
  private files = new Map<string, Content>()
  /** As they would be after a loss of power: all states since the last sync of the folder, oldest first. */
  private states: Map<string, Content>[] = [new Map<string, Content>()]

  content(name: string): Buffer {
    return this.files.get(name)!.bytes
  }

  /** Changes a file behind the back of the node. */
  change(name: string, change: (bytes: Buffer) => Buffer): void {
    const content = this.files.get(name)!
    content.bytes = change(Buffer.from(content.bytes))
    content.synced = content.bytes.length
  }

  names(): string[] {
    return [...this.files.keys()].sort()
  }

  /** What another process finds after this one was killed. */
  afterKill(): CrashDisk {
    return this.left(this.files, (content) => content.bytes.length)
  }

  /** What is left after a loss of power. */
  afterPowerLoss(random: Random): CrashDisk {
    return this.left(random.pick(this.states), ({ bytes, synced }) => {
      const from = Math.min(synced, bytes.length)
      return from + random.below(bytes.length - from + 1)
    })
  }

  private left(files: ReadonlyMap<string, Content>, keep: (content: Content) => number): CrashDisk {
    const disk = new CrashDisk()
    for (const [name, content] of files) disk.files.set(name, content.copy(keep(content)))
    disk.states = [new Map(disk.files)]
    return disk
  }

  list(): Promise<string[]> {
    return Promise.resolve(this.names())
  }

  open(name: string): Promise<DiskFile> {
    const content = this.files.get(name)
    if (!content) return Promise.reject(new Error(`ENOENT: ${name}`))
    return Promise.resolve(this.fileOf(name, content))
  }

  async create(name: string): Promise<DiskFile> {
    await this.begin('create', name)
    const content = new Content()
    this.changeFolder((files) => files.set(name, content))
    return this.fileOf(name, content)
  }

  async rename(from: string, to: string): Promise<void> {
    await this.begin('rename', from)
    const content = this.files.get(from)
    if (!content) throw new Error(`ENOENT: ${from}`)
    this.changeFolder((files) => {
      files.delete(from)
      files.set(to, content)
    })
  }

  remove(name: string): Promise<void> {
    this.changeFolder((files) => files.delete(name))
    return Promise.resolve()
  }

  async syncFolder(): Promise<void> {
    await this.begin('sync-folder', '')
    this.states = [new Map(this.files)]
  }

  private changeFolder(change: (files: Map<string, Content>) => unknown): void {
    this.files = new Map(this.files)
    change(this.files)
    this.states.push(this.files)
  }

  /** @returns the part of a write that is done, if it fails */
  private async begin(operation: Operation, name: string): Promise<void> {
    await this.pause(name)
    const fault = this.fault?.(operation, name)
    if (fault) throw fault.error
  }

  private fileOf(name: string, content: Content): DiskFile {
    const place = (bytes: Buffer, position: number) => {
      const end = Math.max(content.bytes.length, position + bytes.length)
      const grown = Buffer.alloc(end)
      content.bytes.copy(grown)
      bytes.copy(grown, position)
      content.bytes = grown
      content.synced = Math.min(content.synced, position)
    }
    return {
      size: () => Promise.resolve(content.bytes.length),
      read: (into, position) => Promise.resolve(content.bytes.copy(into, 0, position)),
      write: async (bytes, position) => {
        const sent = Buffer.from(bytes)
        await this.pause(name)
        const fault = this.fault?.('write', name)
        place(fault ? sent.subarray(0, fault.part ?? 0) : sent, position)
        if (fault) throw fault.error
      },
      ...(this.writesNow && {
        writeNow: (bytes: Buffer, position: number) => {
          const fault = this.fault?.('write', name)
          place(fault ? bytes.subarray(0, fault.part ?? 0) : bytes, position)
          return !fault
        },
      }),
      sync: async () => {
        const { length } = content.bytes
        await this.begin('sync', name)
        this.syncs++
        content.synced = Math.max(content.synced, Math.min(length, content.bytes.length))
      },
      truncate: async (length) => {
        await this.begin('truncate', name)
        content.bytes = Buffer.from(content.bytes.subarray(0, length))
        content.synced = Math.min(content.synced, length)
      },
      close: () => Promise.resolve(),
    }
  }
}
