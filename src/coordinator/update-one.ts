/**
 * Read, modify, write at `one`: the first healthy home replica decides.
 *
 *   1. Read as any read at `one` (read.ts).
 *   2. Make the result, and store it at the first home replica that takes writes, by one atomic script and only if that
 *      replica still holds what was read. If it holds something newer: again from 1. If it holds something older than
 *      what was read (it missed a write), the result is simply newer than both.
 *   3. Send the result to the other home replicas and the stand-ins, as any write at `one`, without waiting.
 *
 * Not a lock: during a fault two coordinators may take different replicas for the first, and both succeed.
 */
import type { Member } from '../cluster/member.ts'
import { compareVersions, VERSION_BYTES, VERSION_ZERO, type Version } from '../core/clock.ts'
import { newRecord, StoredRecord, versionOf, type NewRecord } from '../core/codec.ts'
import { Deadline } from '../core/deadlines.ts'
import { RondoError, type Outcome } from '../core/errors.ts'
import { ownLifeMs } from '../core/lifetime.ts'
import { planWrite } from '../core/plan.ts'
import type { Node, NodeFailure, StoreCall } from '../nodes/node.ts'
import type { CoordinatorContext } from './context.ts'
import { Copies, noteMiss } from './misses.ts'
import { ReadOne, WRONG_TYPE_SENTENCE } from './read.ts'
import type { Modified, Modify, UpdateDone } from './update.ts'

const MAX_ATTEMPTS = 64

export class UpdateOne extends Deadline implements StoreCall {
  private readonly context: CoordinatorContext
  private readonly key: Buffer
  private readonly preference: readonly Member[]
  private readonly modify: Modify
  private readonly done: UpdateDone
  private finished = false
  private attempts = 0
  private mayBeApplied = false

  private before: StoredRecord | null = null
  private result: NewRecord | null = null
  private lifeMs = 0
  private copies: readonly Member[] = []

  constructor(
    context: CoordinatorContext,
    key: Buffer,
    preference: readonly Member[],
    modify: Modify,
    done: UpdateDone,
  ) {
    super()
    this.context = context
    this.key = key
    this.preference = preference
    this.modify = modify
    this.done = done
  }

  start(): void {
    this.context.deadlines.add(this)
    this.attempt()
  }

  overdue(): void {
    this.fail(`The update was not confirmed within ${this.context.requestTimeoutMs} ms.`)
  }

  onApplied(node: Node): void {
    this.context.background.end()
    const first = this.context.cluster.memberOf(node)
    const homes = this.preference.slice(0, this.context.replicas)
    const copies = new Copies(this.context, this.key, this.result!, homes, [first, ...this.copies])
    copies.send(this.copies, this.lifeMs)
    if (this.finished) return
    this.finish()
    const { head, value } = this.result!
    this.done.updated(this.before, new StoredRecord(Buffer.concat([head, value])))
  }

  onStale(node: Node, held: Buffer): void {
    this.context.background.end()
    this.context.cluster.versions.observe(held)
    if (this.finished) return
    this.mayBeApplied = false
    const heldVersion = held.subarray(0, VERSION_BYTES)
    if (this.before && compareVersions(heldVersion, this.before.version) < 0) {
      this.send(node, undefined) // it missed what was read elsewhere
    } else this.attempt()
  }

  onFailure(node: Node, failure: NodeFailure): void {
    this.context.background.end()
    if (failure.reason !== 'wrong-type') {
      const member = this.context.cluster.memberOf(node)
      const holders = this.copies.filter((copy) => copy.node.ready)
      const why = `it missed a write: ${failure.message}`
      noteMiss(this.context, member, why, holders, this.key, versionOf(this.result!))
    }
    if (this.finished) return
    if (failure.reason === 'wrong-type') {
      this.mayBeApplied = false
      this.end(new RondoError('WRONG_TYPE', WRONG_TYPE_SENTENCE, this.details))
    } else if (failure.kind === 'unknown') {
      // It may have been applied: made once more, it might count twice.
      this.fail(`The replica that decides failed: ${failure.message}.`)
    } else {
      this.mayBeApplied = false
      this.attempt()
    }
  }

  private attempt(): void {
    if (this.attempts++ >= MAX_ATTEMPTS) {
      this.fail('Other updates of the key kept coming in between.')
      return
    }
    new ReadOne(this.context, this.key, this.preference, {
      read: (record) => {
        if (!this.finished) this.decide(record)
      },
      failed: (error) => this.end(new RondoError(error.code, error.message, this.details)),
    }).start()
  }

  private decide(before: StoredRecord | null): void {
    this.before = before
    const modified: Modified = this.modify(before)
    if (modified.kind === 'refuse') {
      this.end(modified.error)
      return
    }
    if (modified.kind === 'keep') {
      this.finish()
      this.done.updated(before, before)
      return
    }
    const { cluster, replicas } = this.context
    const plan = planWrite(this.preference, replicas, false)
    const [first, ...copies] = plan.targets
    if (!first) {
      this.fail('None of the nodes takes writes now.')
      return
    }
    this.copies = copies
    const { kind, value, expiresAtMs } = modified.record
    this.result = newRecord(kind, cluster.versions, expiresAtMs, value)
    this.lifeMs = ownLifeMs(kind, expiresAtMs, cluster.time.nowMs())
    this.send(first.node, before?.version ?? VERSION_ZERO)
  }

  private send(node: Node, onlyIf: Version | undefined): void {
    this.mayBeApplied = true
    this.context.background.begin()
    node.store(this.key, this.result!, this.lifeMs, this, onlyIf && { onlyIf })
  }

  private fail(why: string): void {
    const code = this.mayBeApplied ? 'OUTCOME_UNKNOWN' : 'UNAVAILABLE'
    const outcome = this.mayBeApplied ? 'It may have been applied.' : 'It was not applied.'
    this.end(new RondoError(code, `${why} ${outcome}`, this.details))
  }

  private get details(): { outcome: Outcome; required: number } {
    return { outcome: this.mayBeApplied ? 'unknown' : 'not-applied', required: 1 }
  }

  private end(error: RondoError): void {
    if (this.finished) return
    this.finish()
    this.done.failed(error)
  }

  private finish(): void {
    this.finished = true
    this.context.deadlines.remove(this)
  }
}
