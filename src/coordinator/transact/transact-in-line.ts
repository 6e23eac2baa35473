/**
 * A transaction that waits for its turn in the lines of all its keys (lines.ts). It begins when it is first in every one of
 * them; until then those in which it is first stand still. It is carried out by itself.
 */
import type { StoredRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { RondoError } from '../../core/errors.ts'
import type { CoordinatorContext } from '../context.ts'
import type { Lines, Waiting } from '../update/lines.ts'
import { Operation } from '../operation.ts'
import { TransactionAtOne } from './transact-one.ts'
import { QuorumTransaction } from './transact-quorum.ts'
import type { ModifyAllSlowly, PlacedKey, TransactDone } from './transact.ts'
import { keptWaiting } from '../update/update-in-line.ts'

export class TransactionInLine extends Operation<TransactDone> implements Waiting, TransactDone {
  private readonly lines: Lines
  private readonly names: readonly string[]
  /** Lines in which it is first. */
  private readonly firstIn: string[] = []
  private readonly keys: readonly PlacedKey[]
  private readonly modify: ModifyAllSlowly
  private readonly level: ConsistencyLevel
  /** Once it is carried out. */
  private transaction: TransactionAtOne | QuorumTransaction | null = null

  /** @param names those of the keys */
  constructor(
    context: CoordinatorContext,
    lines: Lines,
    names: readonly string[],
    keys: readonly PlacedKey[],
    level: ConsistencyLevel,
    modify: ModifyAllSlowly,
    done: TransactDone,
  ) {
    super(context, done)
    this.lines = lines
    this.names = names
    this.keys = keys
    this.modify = modify
    this.level = level
  }

  protected attempt(): void {
    for (const name of this.names) {
      if (this.lines.enter(name)) this.firstIn.push(name)
      else this.lines.wait(name, this)
    }
    this.beginIfFirst()
  }

  first(name: string): void {
    this.firstIn.push(name)
    this.beginIfFirst()
  }

  transacted(before: readonly (StoredRecord | null)[], after: readonly (StoredRecord | null)[]): void {
    if (this.finish()) this.done.transacted(before, after)
  }

  failed(error: RondoError): void {
    this.end(error)
  }

  overdue(): void {
    if (this.transaction) {
      this.transaction.overdue() // which tells this
      return
    }
    this.end(keptWaiting(this.context))
    this.lines.leave(this.firstIn)
  }

  private beginIfFirst(): void {
    if (this.firstIn.length < this.names.length) return
    this.transaction = newTransaction(this.context, this.keys, this.level, this.modify, this)
    this.transaction.startIn(this.lines, this.names)
  }
}

/** One transaction, at any level. Not started. */
export function newTransaction(
  context: CoordinatorContext,
  keys: readonly PlacedKey[],
  level: ConsistencyLevel,
  modify: ModifyAllSlowly,
  done: TransactDone,
): TransactionAtOne | QuorumTransaction {
  if (level === 'one') return new TransactionAtOne(context, keys, modify, done)
  return new QuorumTransaction(context, keys, level, modify, done)
}
