/**
 * What is done when the log cannot be written, and the way back.
 *
 * - If a write fails, what was not written is taken back in memory, and those calls fail. Until a write succeeds the node
 *   refuses writes and can be read.
 * - If a sync fails, the file is not used any more, because the system may have dropped what it could not write: the node
 *   takes writes again when a new snapshot is on the disk.
 */
import { sentenceOf } from '../../../core/sentence.ts'
import type { NodeFailure } from '../../node.ts'
import type { JournalOptions } from './journal-options.ts'
import type { LogHealth } from './log-health.ts'
import { SyncFailed, WriteFailed, type LogWriter } from './log-writer.ts'
import type { PendingChanges } from './pending.ts'
import type { Rotation } from './rotation.ts'

/** Where a whole snapshot has to be written. */
const RETRY_MS = 5000

export interface RecoveryParts {
  readonly log: LogWriter
  readonly rotation: Rotation
  readonly pending: PendingChanges
  readonly health: LogHealth
}

export class Recovery {
  private readonly options: JournalOptions
  private readonly parts: RecoveryParts
  private isForbidden = false
  private recovering: Promise<void> | null = null
  private retryMs = 0

  constructor(options: JournalOptions, parts: RecoveryParts) {
    this.options = options
    this.parts = parts
  }

  /** Takes back what was not written. */
  async failed(error: unknown): Promise<void> {
    const { node, disk, emit } = this.options
    const { log, pending, health } = this.parts
    health.failures++
    // A write that failed may be in the file in part, or as a whole. A sync that failed cannot be repeated.
    const certain = error instanceof WriteFailed && !health.isBroken && (await log.cutBack())
    if (!certain) health.isBroken = true
    const why = sentenceOf(error instanceof WriteFailed || error instanceof SyncFailed ? error.cause : error)
    const message = `its log in ${disk.path} cannot be written: ${why}`
    const isNew = health.failure?.message !== message
    const failure: NodeFailure = { kind: 'refused', reason: 'misconf', message }
    health.failure = failure
    if (isNew) emit({ kind: 'disk-failed', node, path: disk.path, why })
    pending.takeBack({ ...failure, kind: certain ? 'refused' : 'unknown' })
  }

  /** For good: another process has the files. */
  forbid(why: string): void {
    const { node, disk, emit } = this.options
    const { pending, health } = this.parts
    this.isForbidden = true
    health.failures++
    health.isBroken = true
    const message = `${disk.path} is not ours any more: ${why}`
    const failure: NodeFailure = { kind: 'refused', reason: 'misconf', message }
    health.failure = failure
    emit({ kind: 'disk-failed', node, path: disk.path, why })
    pending.takeBack({ ...failure, kind: 'unknown' })
  }

  /** Tries to get out of a failure. @throws Error if it lasts */
  recover(failure: NodeFailure): Promise<void> {
    this.recovering ??= this.tryToRecover(failure).finally(() => {
      this.recovering = null
      this.parts.health.isRecovering = false
    })
    return this.recovering
  }

  private async tryToRecover({ message }: NodeFailure): Promise<void> {
    if (this.isForbidden) throw new Error(message)
    const { clock, node, disk, emit } = this.options
    const { log, rotation, health } = this.parts
    await log.idle()
    await rotation.idle()
    if (clock.monotonicMs() < this.retryMs) throw new Error(message)
    const { failures } = health
    try {
      health.isRecovering = true
      if (health.needsSnapshot) await rotation.take()
      else {
        await log.probe()
        if (!(await log.cutBack())) throw new Error(message)
      }
      await log.allWritten()
      if (health.failures !== failures) throw new Error(health.failure!.message)
    } catch (error) {
      if (health.needsSnapshot) this.retryMs = clock.monotonicMs() + RETRY_MS
      else if (!(await log.cutBack())) health.isBroken = true
      throw error
    }
    health.failure = null
    emit({ kind: 'disk-recovered', node, path: disk.path })
  }
}
