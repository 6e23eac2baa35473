/** A message to a subscriber, among the replies: it is written when the replies to earlier commands are. */
import { Constant, Pushes, type Protocol } from '../../../commands/reply.ts'
import type { Message } from '../../../coordinator/api.ts'
import type { Output } from '../wire/output.ts'
import { Slot, type SlotOwner } from './slot.ts'

const WORDS = { channel: 'message', shard: 'smessage', pattern: 'pmessage' } as const

export class PushSlot extends Slot {
  override readonly isPush = true
  private readonly encoded: Buffer

  /** @param bytes what it counts in the account */
  constructor(owner: SlotOwner, command: { readonly index: number }, encoded: Buffer, bytes: number) {
    super(owner, command)
    this.encoded = encoded
    this.bytes = bytes
    this.done = true
  }

  write(output: Output): void {
    output.raw(this.encoded)
  }
}

/** Encodes messages, each once for all its subscribers: it is handed to one after the other. */
export class MessageEncoder {
  private message: Message | null = null
  private encoded: Constant | null = null

  bytesOf(message: Message, protocol: Protocol): Buffer {
    if (message !== this.message) {
      const { kind, pattern, channel, bytes } = message
      const items = [WORDS[kind], ...(pattern ? [pattern] : []), channel, bytes]
      this.message = message
      this.encoded = new Constant(new Pushes([items]))
    }
    return this.encoded!.bytes(protocol)
  }

  /** The last message is not needed any more. */
  forget(): void {
    this.message = null
    this.encoded = null
  }
}
