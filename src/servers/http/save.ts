/**
 * POST /nodes/save: a snapshot of every memory node, now.
 *
 * POST /save and /load of the dialect `lru`: a snapshot of the cluster (SNAPSHOT_DIR), and restoring it. Without that folder,
 * /save is /nodes/save, and there is nothing that /load could load.
 */
import { RondoError } from '../../core/errors.ts'
import { TEXT } from './compat/compat.ts'
import type { Exchange } from './exchange.ts'
import { checkNothingSent } from './repair.ts'
import type { SnapshotsOptions } from './snapshots.ts'

export interface SavedNode {
  readonly id: string
  readonly bytes: number
}

export interface SaveOptions {
  /** Resolves when the snapshots are on the disk; null = nothing is kept on a disk here. Throws if one cannot be written. */
  readonly save: () => Promise<readonly SavedNode[] | null>
}

const NO_FOLDER =
  'There is no DATA_DIR, so nothing is written here. For memory nodes set DATA_DIR; a Redis saves its data itself (BGSAVE, ' +
  'appendonly).'
const NOWHERE_TO_SAVE =
  'There is no SNAPSHOT_DIR, so there is nowhere to put a snapshot: set it to a folder, and start this coordinator again.'
const NOTHING_TO_LOAD =
  'There is no SNAPSHOT_DIR, so there is no snapshot to load: set it to a folder, and save again. (What is in DATA_DIR is ' +
  'loaded at the start, and only then.)'

/** 200 when they are on the disk. */
export async function saveNodes(exchange: Exchange, options: SaveOptions): Promise<void> {
  exchange.query([])
  await checkNothingSent(exchange, 'a snapshot takes no members')
  exchange.json(200, { nodes: await saved(options) })
}

/** 200 when it is on the disk. */
export async function lruSave(exchange: Exchange, options: SaveOptions & SnapshotsOptions): Promise<void> {
  exchange.query([])
  await checkNothingSent(exchange, 'a snapshot takes no members')
  if (options.snapshots) await options.snapshots.save()
  else await saved(options, NOWHERE_TO_SAVE)
  exchange.send(200, [...TEXT], 'OK\n')
}

/** 200 when everything is restored. */
export async function lruLoad(exchange: Exchange, { snapshots }: SnapshotsOptions): Promise<void> {
  exchange.query([])
  await checkNothingSent(exchange, 'it takes no members')
  if (!snapshots) throw new RondoError('CONFLICT', NOTHING_TO_LOAD)
  await snapshots.load()
  exchange.send(200, [...TEXT], 'OK\n')
}

/** @param otherwise what to do if nothing is kept on a disk here */
async function saved({ save }: SaveOptions, otherwise = NO_FOLDER): Promise<readonly SavedNode[]> {
  const nodes = await save().catch((error: Error) => {
    throw new RondoError('UNAVAILABLE', `The snapshot could not be written: ${error.message}`)
  })
  if (nodes === null) throw new RondoError('CONFLICT', otherwise)
  return nodes
}
