/**
 * A transaction that waits in the queues of all its keys (key-queues.ts). It starts when it is first in every one of
 * them; until then it blocks those in which it is first. It runs alone.
 */
import type { StoredRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { RondoError } from '../../core/errors.ts'
import type { CoordinatorContext } from '../context.ts'
import type { KeyQueues, Waiting } from '../update/key-queues.ts'
import { Operation } from '../operation.ts'
import { TransactionAtOne } from './transact-one.ts'
import { QuorumTransaction } from './transact-quorum.ts'
import type { ModifyAllSlowly, PlacedKey, TransactDone } from './transact.ts'
import { keptWaiting } from '../update/queued-update.ts'

export class QueuedTransaction extends Operation<TransactDone> implements Waiting, TransactDone {
  private readonly queues: KeyQueues
  private readonly names: readonly string[]
  /** Queues in which it is first. */
  private readonly firstIn: string[] = []
  private readonly keys: readonly PlacedKey[]
  private readonly modify: ModifyAllSlowly
  private readonly level: ConsistencyLevel
  private readonly goesFirst: boolean
  /** Set once it runs. */
  private transaction: TransactionAtOne | QuorumTransaction | null = null

  /** @param names of the keys @param goesFirst before all others that wait: see isPutOff of TransactDone */
  constructor(
    context: CoordinatorContext,
    queues: KeyQueues,
    names: readonly string[],
    keys: readonly PlacedKey[],
    level: ConsistencyLevel,
    modify: ModifyAllSlowly,
    done: TransactDone,
    goesFirst: boolean,
  ) {
    super(context, done)
    this.goesFirst = goesFirst
    this.queues = queues
    this.names = names
    this.keys = keys
    this.modify = modify
    this.level = level
  }

  protected attempt(): void {
    for (const name of this.names) {
      if (this.queues.enter(name)) this.firstIn.push(name)
      else if (this.goesFirst) this.queues.putBack(name, [this])
      else this.queues.wait(name, this)
    }
    this.beginIfFirst()
  }

  onTurn(name: string): void {
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
      this.transaction.overdue() // which then fails this one
      return
    }
    this.end(keptWaiting(this.context))
    this.queues.leave(this.firstIn)
  }

  private beginIfFirst(): void {
    if (this.firstIn.length < this.names.length) return
    this.transaction = newTransaction(this.context, this.keys, this.level, this.modify, this)
    this.transaction.startQueued(this.queues, this.names)
  }
}

/** Makes a transaction for any level, without starting it. */
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
