/** The folder of one memory node, as far as its journal needs it: what tests replace to make it fail. */
import { constants, writeSync, type promises } from 'node:fs'
import { open, readdir, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'

export interface DiskFile {
  size(): Promise<number>
  /** @returns how many bytes there were */
  read(into: Buffer, position: number): Promise<number>
  /** All of them, or it throws. */
  write(bytes: Buffer, position: number): Promise<void>
  /** The same before it returns; false = not all of them were written. Absent: that cannot be done here. */
  writeNow?(bytes: Buffer, position: number): boolean
  /** Resolves when what was written is on the disk. */
  sync(): Promise<void>
  truncate(length: number): Promise<void>
  close(): Promise<void>
}

export interface Disk {
  /** For people. */
  readonly path: string
  list(): Promise<readonly string[]>
  open(name: string): Promise<DiskFile>
  /** Empty, also if there was one of this name. */
  create(name: string): Promise<DiskFile>
  rename(from: string, to: string): Promise<void>
  remove(name: string): Promise<void>
  /** Resolves when the names in the folder are on the disk. */
  syncFolder(): Promise<void>
}

const PRIVATE_FILE = 0o600

export class FolderOnDisk implements Disk {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  list(): Promise<readonly string[]> {
    return readdir(this.path)
  }

  async open(name: string): Promise<DiskFile> {
    return new FileOnDisk(await open(join(this.path, name), constants.O_RDWR | constants.O_NOFOLLOW))
  }

  async create(name: string): Promise<DiskFile> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW
    return new FileOnDisk(await open(join(this.path, name), flags, PRIVATE_FILE))
  }

  rename(from: string, to: string): Promise<void> {
    return rename(join(this.path, from), join(this.path, to))
  }

  remove(name: string): Promise<void> {
    return unlink(join(this.path, name))
  }

  async syncFolder(): Promise<void> {
    const folder = await open(this.path, constants.O_RDONLY)
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  }
}

class FileOnDisk implements DiskFile {
  private readonly handle: promises.FileHandle

  constructor(handle: promises.FileHandle) {
    this.handle = handle
  }

  async size(): Promise<number> {
    return (await this.handle.stat()).size
  }

  async read(into: Buffer, position: number): Promise<number> {
    let done = 0
    while (done < into.length) {
      const { bytesRead } = await this.handle.read(into, done, into.length - done, position + done)
      if (bytesRead === 0) break
      done += bytesRead
    }
    return done
  }

  async write(bytes: Buffer, position: number): Promise<void> {
    let done = 0
    while (done < bytes.length) {
      const left = bytes.length - done
      const { bytesWritten } = await this.handle.write(bytes, done, left, position + done)
      done += bytesWritten
    }
  }

  writeNow(bytes: Buffer, position: number): boolean {
    return writeSync(this.handle.fd, bytes, 0, bytes.length, position) === bytes.length
  }

  sync(): Promise<void> {
    return this.handle.datasync()
  }

  truncate(length: number): Promise<void> {
    return this.handle.truncate(length)
  }

  close(): Promise<void> {
    return this.handle.close()
  }
}
