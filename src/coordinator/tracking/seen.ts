/** Completion objects around those of operations: what they read and write is noted before they are answered. */
import { compareVersions, type Version } from '../../core/clock.ts'
import type { RecordHead, StoredRecord } from '../../core/codec.ts'
import type { RondoError } from '../../core/errors.ts'
import { askedBy, type Failing, type ServedBy } from '../context.ts'
import type { ReadDone } from '../read/read.ts'
import type { ClientCall, Requester } from '../requester.ts'
import type { TransactDone } from '../transact/transact.ts'
import type { Entry } from './table.ts'
import type { UpdateDone } from '../update/update.ts'
import type { WriteDone } from '../write/write.ts'

/** How a write has ended. `version`: of what is held now; null = unknown. */
export type OnWritten = (by: Requester | null, version: Version | null, mayHaveChanged: boolean) => void

export interface Reader {
  /** What a tracker is about to get. */
  saw(entry: Entry, record: RecordHead | null, tagChanges: number): void
}

/** A class, since there is one for each read. */
export class Seeing<R extends RecordHead> implements ReadDone<R> {
  readonly requester?: Requester
  readonly call?: ClientCall | undefined
  private readonly reader: Reader
  private readonly entry: Entry
  private readonly tagChanges: number
  private readonly done: ReadDone<R>

  /** @param tagChanges how often tags had changed when the read began */
  constructor(reader: Reader, entry: Entry, tagChanges: number, done: ReadDone<R>) {
    if (done.requester) this.requester = done.requester
    if (done.call) this.call = done.call
    this.reader = reader
    this.entry = entry
    this.tagChanges = tagChanges
    this.done = done
  }

  isFollowed(): boolean {
    return this.done.isFollowed?.() ?? false
  }

  read(record: R | null, by?: ServedBy): void {
    this.reader.saw(this.entry, record, this.tagChanges)
    this.done.read(record, by)
  }

  failed(error: RondoError, by?: ServedBy): void {
    this.done.failed(error, by)
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
