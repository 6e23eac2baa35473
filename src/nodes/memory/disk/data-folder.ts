/**
 * DATA_DIR: a folder for each memory node, and the lock. One process at a time uses it.
 *
 *   DATA_DIR/lock
 *   DATA_DIR/memory-1/snapshot-000002, log-000002 …    (names.ts)
 */
import { constants } from 'node:fs'
import { access, mkdir, readdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { sentenceOf } from '../../../core/sentence.ts'
import { FolderOnDisk } from './disk.ts'
import { DiskError } from './load.ts'
import { Lock, type LockOptions } from './lock.ts'

const PRIVATE_FOLDER = 0o700
const NODE_FOLDER = /^memory-[1-9]\d{0,3}$/
const PREFIX = 'memory-'

export class DataFolder {
  readonly path: string
  private readonly lock: Lock

  private constructor(path: string, lock: Lock) {
    this.path = path
    this.lock = lock
  }

  /**
   * Makes the folder if need be, and locks it.
   *
   * @param nodes ids of all nodes
   * @throws DiskError if it cannot be used
   */
  static async open(
    path: string,
    nodes: readonly string[],
    options: Omit<LockOptions, 'folder'>,
  ): Promise<DataFolder> {
    const folder = resolve(path)
    try {
      await makeFolder(folder)
      await access(folder, constants.R_OK | constants.W_OK | constants.X_OK)
    } catch (error) {
      throw unusable(folder, error)
    }
    const lock = new Lock({ ...options, folder })
    await lock.take().catch((error: unknown) => {
      throw error instanceof DiskError ? error : unusable(folder, error)
    })
    const opened = new DataFolder(folder, lock)
    try {
      await opened.makeFolders(nodes)
      return opened
    } catch (error) {
      await opened.close()
      throw error instanceof DiskError ? error : unusable(folder, error)
    }
  }

  private async makeFolders(nodes: readonly string[]): Promise<void> {
    const there = (await readdir(this.path)).filter((name) => NODE_FOLDER.test(name))
    const [missing] = missingAmong(there)
    // As many folders as nodes may still be those of other nodes, whose data nobody would read.
    if (missing !== undefined)
      throw new DiskError(
        `DATA_DIR ${this.path} has no folder ${missing}, and folders of later memory nodes. Put it back; if it is lost, make an ` +
          'empty one: the node is then filled from the others.',
      )
    if (there.length > 0 && there.length !== nodes.length)
      throw new DiskError(
        `DATA_DIR ${this.path} holds the data of ${there.length} memory nodes, and MEMORY_NODES is ${nodes.length}: keys would ` +
          `not be where they are looked for. Set MEMORY_NODES=${there.length}, or DATA_DIR to another folder.`,
      )
    for (const node of nodes) {
      await makeFolder(join(this.path, node))
      await access(join(this.path, node), constants.R_OK | constants.W_OK | constants.X_OK)
    }
  }

  close(): Promise<void> {
    return this.lock.release()
  }
}

/** Folders that were there once: nodes are numbered from 1. */
function missingAmong(there: readonly string[]): string[] {
  const last = Math.max(0, ...there.map((name) => Number(name.slice(PREFIX.length))))
  return Array.from({ length: last }, (_, i) => `${PREFIX}${i + 1}`).filter((name) => !there.includes(name))
}

/** With those above it. (`recursive` of mkdir does not end where a file system says ENOENT for good, such as /proc.) */
async function makeFolder(path: string): Promise<void> {
  const made = async () => {
    await mkdir(path, { mode: PRIVATE_FOLDER })
    await new FolderOnDisk(dirname(path)).syncFolder()
  }
  try {
    await made()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return
    if (code !== 'ENOENT' || dirname(path) === path) throw error
    await makeFolder(dirname(path))
    await made()
  }
}

function unusable(folder: string, error: unknown): DiskError {
  return new DiskError(
    `DATA_DIR ${folder} cannot be used: ${sentenceOf(error)}. It has to be a folder, or one that can be made, in which this ` +
      'user may create files.',
  )
}
