/** The reply to a command that waits: what it has taken is given back if the reply is not written. */
import type { Handed } from '../../../coordinator/api.ts'
import type { Reply } from '../../../commands/reply.ts'
import { ReplySlot } from './slot.ts'
import type { Output } from '../wire/output.ts'

export class WaitingSlot extends ReplySlot {
  private giveBack: (() => void) | null = null

  /** @param nowUs in the unit of startedUs: waiting does not count as slow */
  handOver({ answer, hasWaited, giveBack }: Handed<Reply>, nowUs: number): void {
    if (this.owner.gone) {
      giveBack?.()
      return
    }
    this.giveBack = giveBack
    if (hasWaited) this.startedUs = nowUs
    this.answer(answer)
  }

  override write(output: Output): void {
    this.giveBack = null
    super.write(output)
  }

  override dropped(): void {
    this.giveBack?.()
    this.giveBack = null
  }
}
