/** Completion objects around those of operations: what they read and write is noted before they are answered. */
import { compareVersions, type Version } from '../../core/clock.ts'
import type { RecordHead, StoredRecord } from '../../core/codec.ts'
import type { RondoError } from '../../core/errors.ts'
import { askedBy, type Failing, type ServedBy } from '../context.ts'
import type { ReadDone } from '../read/read.ts'
import type { Requester } from '../requester.ts'
import type { TransactDone } from '../transact/transact.ts'
import type { UpdateDone } from '../update/update.ts'
import type { WriteDone } from '../write/write.ts'

export type OnSeen = (record: RecordHead | null) => void
/** How a write has ended. `version`: of what is held now; null = unknown. */
export type OnWritten = (by: Requester | null, version: Version | null, mayHaveChanged: boolean) => void

export function seeing<R extends RecordHead>(done: ReadDone<R>, onSeen: OnSeen): ReadDone<R> {
  return {
    ...askedBy(done),
    isFollowed: () => done.isFollowed?.() ?? false,
    read: (record, by) => {
      onSeen(record)
      done.read(record, by)
    },
    failed: (error, by) => done.failed(error, by),
  }
}

export function writing(done: WriteDone, onWritten: OnWritten): WriteDone {
  const by = done.requester ?? null
  return {
    ...askedBy(done),
    written: (version, served) => {
      onWritten(by, version, true)
      done.written(version, served)
    },
    failed: failing(done, (isUnknown) => onWritten(by, null, isUnknown)),
  }
}

export function updating(done: UpdateDone, onWritten: OnWritten): UpdateDone {
  const by = done.requester ?? null
  return {
    ...askedBy(done),
    updated: (before, after, served) => {
      onWritten(by, after?.version ?? null, hasChanged(before, after))
      done.updated(before, after, served)
    },
    failed: failing(done, (isUnknown) => onWritten(by, null, isUnknown)),
  }
}

/** @param onWritten by key */
export function transacting(done: TransactDone, onWritten: readonly OnWritten[]): TransactDone {
  const by = done.requester ?? null
  return {
    ...askedBy(done),
    transacted: (before, after) => {
      for (const [i, held] of after.entries()) {
        onWritten[i]!(by, held?.version ?? null, hasChanged(before[i] ?? null, held))
      }
      done.transacted(before, after)
    },
    failed: failing(done, (isUnknown) => {
      for (const one of onWritten) one(by, null, isUnknown)
    }),
  }
}

function failing(done: Failing, onFailed: (isUnknown: boolean) => void): Failing['failed'] {
  return (error: RondoError, by?: ServedBy) => {
    onFailed(error.details.outcome === 'unknown')
    done.failed(error, by)
  }
}

function hasChanged(before: StoredRecord | null, after: StoredRecord | null): boolean {
  if (before === after) return false
  if (before === null || after === null) return true
  return compareVersions(before.version, after.version) !== 0
}
