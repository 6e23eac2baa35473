/**
 * FLUSHALL and FLUSHDB. The members agree on a version below which nothing exists any more (cluster/flushing.ts): one change,
 * however many keys there are, and ASYNC and SYNC are the same. Where they cannot, because the members are changing or keep to
 * their configuration, every key that was written before the flush began is deleted, or it fails with the number of those that
 * were not:
 *
 *   the command is read ──▶ a version is stamped ──▶ all keys are listed, page by page ──▶ each is deleted, if what is held
 *                                                                                          under it is older
 *
 * So what a client writes after it has sent the flush stays, whether it has waited for the reply or not. As in Redis, a flush
 * is carried out to the end when its client closes the connection, and with ASYNC it is answered when it begins.
 *
 * One runs at a time, and a later one starts after it (flushes.ts).
 *
 * Not promised: that a key stays which another coordinator writes within some milliseconds after the beginning.
 */
import { removeOlder } from '../../coordinator/promises.ts'
import type { Requester } from '../../coordinator/api.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { RondoError } from '../../core/errors.ts'
import { outlivesFlushes, storedKey } from '../../core/keys.ts'
import { sentenceOf } from '../../core/sentence.ts'
import { word } from '../arguments.ts'
import type { Caller } from '../model.ts'
import { errorOf } from '../errors.ts'
import { OK, RespError, type Reply } from '../reply.ts'
import { inSlices } from '../run/slices.ts'
import { CommandError, SYNTAX_ERROR } from '../step.ts'
import type { Flush } from './flushes.ts'
import { checkAllowed, pagesOf } from './listing.ts'

/** How often a flush reports its progress. */
const REPORT_EVERY_MS = 5000

export async function flush(caller: Caller, args: readonly Buffer[]): Promise<Reply> {
  const name = word(args[0]!)
  checkAllowed(caller, name, 'delete keys by name')
  const mode = args.length === 2 ? word(args[1]!) : 'SYNC'
  if (args.length > 2 || !['SYNC', 'ASYNC'].includes(mode)) throw new CommandError(SYNTAX_ERROR)
  const database = name === 'FLUSHDB' ? caller.settings.database : null
  const isAsync = mode === 'ASYNC'
  const before = caller.store.newVersion()
  if (await caller.store.flush(database)) return OK
  const done = caller.flushes.add({
    name: `${database ?? 'all'} ${caller.writeLevel}`,
    before,
    isAsync,
    run: flushing(caller, database, caller.writeLevel),
  })
  return isAsync ? OK : done
}

function flushing(caller: Caller, database: number | null, level: ConsistencyLevel) {
  return (flush: Flush) => run({ caller, database, level }, flush)
}

interface Scope {
  readonly caller: Caller
  /** Null = all. */
  readonly database: number | null
  readonly level: ConsistencyLevel
}

async function run(scope: Scope, flush: Flush): Promise<Reply> {
  const { deleted, failures, stopped } = await deleteAll(scope, flush)
  const first = failures[0] ?? stopped
  if (!first) {
    scope.caller.store.onFlushed(scope.database)
    return OK
  }
  const { text } = errorOf(first)
  const others = stopped
    ? `${failures.length} were not, or may not have been, and the rest was not reached`
    : `${failures.length} were not, or may not have been`
  const told = `${text} (${deleted} keys were deleted, ${others})`
  return new RespError(told, false, new RondoError('OUTCOME_UNKNOWN', told, { outcome: 'unknown' }))
}

interface Flushed {
  readonly deleted: number
  readonly failures: readonly RondoError[]
  /** Why it ended before the last key: these could not be listed. */
  readonly stopped: RondoError | null
}

async function deleteAll({ caller, database, level }: Scope, { before, isAsync }: Flush): Promise<Flushed> {
  const { store } = caller
  const beganAtMs = store.nowMs()
  let reportAtMs = beganAtMs + REPORT_EVERY_MS
  let deleted = 0
  let stopped: RondoError | null = null
  const failures: RondoError[] = []
  const report = (finished: boolean) => {
    const seconds = (store.nowMs() - beganAtMs) / 1000
    const why = stopped?.message ?? null
    caller.onFlush({ database, deleted, failed: failures.length, seconds, finished, stopped: why })
  }
  const options = { level, requester: lasting() }
  const failed = (error: RondoError) => void failures.push(error)
  try {
    for await (const keys of pagesOf(caller, { database, match: null })) {
      await inSlices(caller, keys.length, (i) => {
        const key = database === null ? keys[i]! : storedKey(database, keys[i]!)
        if (database === null && outlivesFlushes(key)) return Promise.resolve()
        return removeOlder(store, key, before, options).then(
          (isDeleted) => void (deleted += isDeleted ? 1 : 0),
          failed,
        )
      })
      if (store.nowMs() < reportAtMs) continue
      reportAtMs += REPORT_EVERY_MS
      report(false)
    }
  } catch (error) {
    stopped = error instanceof RondoError ? error : new RondoError('INTERNAL', sentenceOf(error))
  }
  if (stopped || isAsync || reportAtMs > beganAtMs + REPORT_EVERY_MS) report(true)
  return { deleted, failures, stopped }
}

/** Its operations are not dropped when the client closes the connection. */
function lasting(): Requester {
  return { waiting: 0, begunAtMs: 0, gone: false, noneWaits: () => undefined }
}
