/**
 * Steps on a Map, one after the other: the smallest thing that can run them. On the way it holds every step to what
 * step.ts promises: it is pure, its keys are the command's, and `reads` and `writes` are true.
 */
import { expect } from 'chai'
import { encodeReply, RespError, type Protocol } from '../../../src/doors/resp/reply.ts'
import { CommandError, type Held, type Step, type Stepped } from '../../../src/doors/resp/step.ts'
import { STEPS } from '../../../src/doors/resp/strings.ts'

export class StepExecutor {
  readonly #values = new Map<string, Held>()
  readonly #protocol: Protocol
  readonly #maxValueBytes: number

  constructor(protocol: Protocol, maxValueBytes: number) {
    this.#protocol = protocol
    this.#maxValueBytes = maxValueBytes
  }

  /** The reply's bytes. */
  run(args: readonly Buffer[], nowMs: number): Buffer {
    const spec = STEPS[args[0]!.toString().toLowerCase()]
    if (!spec) throw new Error(`${String(args[0])} is not in the table`)
    let step: Step
    try {
      step = spec.make(args, nowMs, { maxValueBytes: this.#maxValueBytes, defaultTtlMs: 0 })
    } catch (error) {
      if (error instanceof CommandError) return encodeReply(new RespError(error.message), this.#protocol)
      throw error
    }
    const names = step.keys.map((key) => key.toString('latin1'))
    const last = spec.lastKey < 0 ? args.length + spec.lastKey : spec.lastKey
    const mentioned = args.filter(
      (_, i) => i >= spec.firstKey && i <= last && (i - spec.firstKey) % spec.keyStep === 0,
    )
    expect(names).to.deep.equal([...new Set(mentioned.map((key) => key.toString('latin1')))])

    const held = names.map((name) => this.#live(name, nowMs))
    const before = structuredClone(held)
    const stepped = step.apply(held, nowMs)
    const plain = structuredClone(stepped.next)
    expect(step.apply(held, nowMs)).to.deep.equal(stepped)
    expect(structuredClone(held)).to.deep.equal(before)
    if (!step.writes) expect(stepped.next).to.equal(undefined)
    if (!step.reads) expectBlind(step, stepped, nowMs)
    if (stepped.reply instanceof RespError) expect(stepped.next).to.equal(undefined)
    this.#store(names, stepped)
    expect(structuredClone(stepped.next)).to.deep.equal(plain)
    return encodeReply(stepped.reply, this.#protocol)
  }

  #live(name: string, nowMs: number): Held | null {
    const held = this.#values.get(name)
    if (!held) return null
    return held.expiresAtMs === 0 || held.expiresAtMs > nowMs ? held : null
  }

  #store(names: readonly string[], { next }: Stepped): void {
    next?.forEach((held, i) => {
      if (held === undefined) return
      if (held === null) this.#values.delete(names[i]!)
      else this.#values.set(names[i]!, held)
    })
  }
}

function expectBlind(step: Step, stepped: Stepped, nowMs: number): void {
  const nothing = step.keys.map(() => null)
  const something = step.keys.map(() => ({ value: Buffer.from('other'), expiresAtMs: nowMs + 1 }))
  expect(step.apply(nothing, nowMs)).to.deep.equal(stepped)
  expect(step.apply(something, nowMs)).to.deep.equal(stepped)
}
