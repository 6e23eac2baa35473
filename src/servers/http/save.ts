/** POST /nodes/save: a snapshot of every memory node, now. POST /save and /load: the same as the dialect `lru` names it. */
import { RondoError } from '../../core/errors.ts'
import { TEXT } from './compat/compat.ts'
import type { Exchange } from './exchange.ts'
import { checkNothingSent } from './repair.ts'

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
const LOADED_AT_START =
  'Nothing was loaded: what is in DATA_DIR was loaded at the start, and holds every write since then. Loading an older state ' +
  'over it would take acknowledged writes back.'

/** 200 when they are on the disk. */
export async function saveNodes(exchange: Exchange, options: SaveOptions): Promise<void> {
  exchange.query([])
  await checkNothingSent(exchange, 'a snapshot takes no members')
  exchange.json(200, { nodes: await saved(options) })
}

export async function lruSave(exchange: Exchange, options: SaveOptions): Promise<void> {
  exchange.query([])
  await checkNothingSent(exchange, 'a snapshot takes no members')
  await saved(options)
  exchange.send(200, [...TEXT], 'OK\n')
}

export async function lruLoad(exchange: Exchange): Promise<void> {
  exchange.query([])
  await checkNothingSent(exchange, 'it takes no members')
  throw new RondoError('CONFLICT', LOADED_AT_START)
}

async function saved({ save }: SaveOptions): Promise<readonly SavedNode[]> {
  const nodes = await save().catch((error: Error) => {
    throw new RondoError('UNAVAILABLE', `The snapshot could not be written: ${error.message}`)
  })
  if (nodes === null) throw new RondoError('CONFLICT', NO_FOLDER)
  return nodes
}
