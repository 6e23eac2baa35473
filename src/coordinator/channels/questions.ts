/**
 * PUBSUB: what all coordinators know of their subscribers; and errands (SCRIPT KILL), which are asked in the same way. The one that is asked publishes the question on one node, where
 * all of them listen, and adds up the answers (replies.ts) and what it knows itself. Those that do not answer in time are not
 * counted.
 */
import type { Timers } from '../../core/clock.ts'
import { RondoError } from '../../core/errors.ts'
import { ERRANDS, type ChannelKind, type Errand, type SubscriptionKind } from './api.ts'
import type { Carrier } from './carrier.ts'
import type { Carriers } from './carriers.ts'
import {
  decodeCounts,
  decodeNames,
  decodeSent,
  encodeAnswer,
  encodeCounts,
  encodeNames,
  encodeSent,
  QUESTIONS_TOPIC,
  repliesTopic,
  type Answer,
} from './envelope.ts'
import type { Replies } from './replies.ts'
import type { Subscriptions } from './subscriptions.ts'

const KINDS: readonly SubscriptionKind[] = ['channel', 'shard', 'pattern']
/** Added to the index of a kind: how many subscribers some names have. */
const COUNTS = 0x10
/** Added to the index of an errand. */
const DOES = 0x20
const PART_BYTES = 64 * 1024
/** Of names that answers may have together. */
const MAX_NAMES_BYTES = 64 * 1024 * 1024
const NAME_BYTES = 100

export interface QuestionsOptions {
  readonly id: Buffer
  readonly timers: Timers
  readonly maxValueBytes: number
  readonly subscriptions: Subscriptions
  readonly carriers: Carriers
  readonly replies: Replies
  readonly nextNumber: () => number
  readonly start: () => Promise<void>
  readonly does: (errand: Errand) => boolean
}

export class Questions {
  private readonly options: QuestionsOptions
  private readonly self: string

  constructor(options: QuestionsOptions) {
    this.options = options
    this.self = options.id.toString('latin1')
  }

  // ---- asking

  /** The names of all coordinators, each once. */
  async active(kind: SubscriptionKind, matches: (name: Buffer) => boolean): Promise<readonly Buffer[]> {
    const found = new Map<string, Buffer>()
    let bytes = 0
    const add = (body: Buffer) => {
      for (const name of decodeNames(body) ?? []) {
        const key = name.toString('latin1')
        if (bytes > MAX_NAMES_BYTES || found.has(key) || !matches(name)) continue
        bytes += name.length + NAME_BYTES
        found.set(key, Buffer.from(name))
      }
    }
    const own = new Promise<void>((told) => {
      this.tellNames(this.options.subscriptions.names(kind), (part, isLast) => {
        add(part)
        if (isLast) told()
      })
    })
    await Promise.all([this.ask(Buffer.from([KINDS.indexOf(kind)]), add), own])
    if (bytes <= MAX_NAMES_BYTES) return [...found.values()]
    throw new RondoError(
      'OVERLOADED',
      'There are too many channels to list them. Ask for fewer, by a pattern.',
    )
  }

  async subscribers(kind: ChannelKind, channels: readonly Buffer[]): Promise<readonly number[]> {
    const names = encodeNames(channels)
    if (names.length > this.options.maxValueBytes) {
      const sentence = `The channels have ${names.length} bytes together; at most ${this.options.maxValueBytes} are allowed (MAX_VALUE_BYTES).`
      throw new RondoError('BAD_REQUEST', sentence)
    }
    const sums = channels.map((name) => this.options.subscriptions.of(kind, name).size)
    await this.ask(Buffer.concat([Buffer.from([COUNTS + KINDS.indexOf(kind)]), names]), (body) => {
      const counts = decodeCounts(body)
      if (counts?.length === sums.length) counts.forEach((count, i) => (sums[i]! += count))
    })
    return sums
  }

  /** @returns how many others have done it */
  async errand(errand: Errand): Promise<number> {
    let done = 0
    await this.ask(Buffer.from([DOES + ERRANDS.indexOf(errand)]), (body) => {
      if (body[0] === 1) done++
    })
    return done
  }

  private async ask(question: Buffer, part: (body: Buffer) => void): Promise<void> {
    const { id, carriers, replies, nextNumber, start } = this.options
    await start()
    const carrier = carriers.anyCarrier()
    const failed = (message: string) =>
      new RondoError('UNAVAILABLE', `The other coordinators cannot be asked: ${message}.`)
    if (!carrier) throw failed('no node is reached')
    const number = nextNumber()
    await new Promise<void>((resolve, reject) => {
      replies.expect(number, carrier, { receivers: 0, done: () => resolve(), part })
      carrier.publish(QUESTIONS_TOPIC, encodeSent(id, number, question), {
        onPublished: (copies) => replies.passedOn(number, copies),
        onFailure: ({ message }) => {
          replies.drop(number)
          reject(failed(message))
        },
      })
    })
  }

  onAnswer({ number, isLast, body }: Answer): void {
    this.options.replies.part(number, body)
    if (isLast) this.options.replies.answered(number, 0)
  }

  // ---- answering

  answer(carrier: Carrier, bytes: Buffer): void {
    const sent = decodeSent(bytes)
    const [type = -1] = sent?.body ?? []
    const kind = type < DOES ? KINDS[type % COUNTS] : undefined
    const errand = ERRANDS[type - DOES]
    if (!sent || !(kind ?? errand)) return
    const { from, number, body } = sent
    if (from === this.self) {
      this.options.replies.answered(number, 0) // it has looked already
      return
    }
    const say = (part: Buffer, isLast: boolean) => this.say(carrier, from, { number, isLast, body: part })
    if (errand) say(Buffer.from([this.options.does(errand) ? 1 : 0]), true)
    if (!kind) return
    if (type < COUNTS) {
      this.tellNames(this.options.subscriptions.names(kind), say)
      return
    }
    const names = kind === 'pattern' ? null : decodeNames(body.subarray(1))
    const counts = names?.map((name) => this.options.subscriptions.of(kind as ChannelKind, name).size)
    say(encodeCounts(counts ?? []), true)
  }

  /** A part in each turn. */
  private tellNames(names: Generator<Buffer>, say: (part: Buffer, isLast: boolean) => void): void {
    const part: Buffer[] = []
    for (let bytes = 0; bytes < PART_BYTES;) {
      const next = names.next()
      if (next.done) {
        say(encodeNames(part), true)
        return
      }
      part.push(next.value)
      bytes += next.value.length + 4
    }
    say(encodeNames(part), false)
    this.options.timers.endOfTurn(() => this.tellNames(names, say))
  }

  private say(carrier: Carrier, to: string, answer: Answer): void {
    const call = { onPublished: () => undefined, onFailure: () => undefined }
    carrier.publish(repliesTopic(Buffer.from(to, 'latin1')), encodeAnswer(answer), call)
  }
}
