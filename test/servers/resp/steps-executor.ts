/**
 * Steps on a Map, one after the other: the smallest thing that can run them. On the way it holds every step to what
 * step.ts promises: it is pure, its keys are the command's, `reads` and `writes` are true, and what it needs is enough.
 */
import { randomBytes } from 'node:crypto'
import { expect } from 'chai'
import { KIND_STREAM, PeekedRecord, StoredRecord } from '../../../src/core/codec.ts'
import { isLarge } from '../../../src/commands/collections/large/root.ts'
import { sizes } from '../../../src/commands/collections/large/sizes.ts'
import { inOnePiece, inParts } from '../../../src/commands/run/forms.ts'
import { storedKey } from '../../../src/core/keys.ts'
import { inOneGo } from '../../../src/core/work.ts'
import { keysAmong } from '../../../src/commands/key-places.ts'
import { applyTo, knownOf } from '../../../src/commands/run/known.ts'
import { encodeReply, RespError, type Protocol } from '../../../src/commands/reply.ts'
import { CommandError, type Held, type Step, type Stepped } from '../../../src/commands/step.ts'
import { STEPS } from '../../../src/commands/specs.ts'
import { expectWhole, expectWholeStream, PartsInMap } from '../../support/large.ts'
import { record } from '../../support/node-calls.ts'

export class StepExecutor {
  readonly #values = new Map<string, StoredHeld>()
  readonly #protocol: Protocol
  readonly #maxValueBytes: number
  /** How many parts the collections had that were changed in parts. */
  partsOfChanged = 0

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
      step = spec.make(args, nowMs, {
        maxValueBytes: this.#maxValueBytes,
        defaultTtlMs: 0,
        database: 0,
        databases: 16,
        random: Math.random,
      })
    } catch (error) {
      if (error instanceof CommandError) return encodeReply(new RespError(error.message), this.#protocol)
      throw error
    }
    const mentioned = keysAmong(spec, args).map((key) => key.toString('latin1'))
    const named = step.keys.map((key) => key.toString('latin1'))
    expect([...new Set(named)].sort()).to.deep.equal([...new Set(mentioned)].sort())
    if (step.needs === 'value' && step.follow) {
      const { follow } = step
      const before = named.map((name) => this.#live(name, nowMs))
      const next = whileNeeded(before, () => follow(before))
      if (!('keys' in next)) return encodeReply(next.reply, this.#protocol)
      expect(next).to.include({ reads: step.reads, writes: step.writes })
      step = next
    }
    const databases = step.databases ?? step.keys.map(() => 0)
    const names = step.keys.map((key, i) => storedKey(databases[i]!, key).toString('latin1'))
    expect([...new Set(names)]).to.deep.equal(names)

    const held = names.map((name) => this.#live(name, nowMs))
    const before = copied(held)
    const stepped = whileNeeded(held, () => applyTo(step, held, nowMs))
    const plain = copied(stepped.next ?? [])
    expect(toCompare(applyTo(step, held, nowMs))).to.deep.equal(toCompare(stepped))
    expectNoMoreNeeded(step, held, stepped, nowMs)
    expect(copied(held)).to.deep.equal(before)
    if (!step.writes) expect(stepped.next).to.equal(undefined)
    if (!step.reads) expectBlind(step, stepped, nowMs)
    if (stepped.reply instanceof RespError) expect(stepped.next).to.equal(undefined)
    this.#store(names, stepped)
    expect(copied(stepped.next ?? [])).to.deep.equal(plain)
    return encodeReply(stepped.reply, this.#protocol)
  }

  #live(name: string, nowMs: number): Held | null {
    const held = this.#values.get(name)
    if (!held) return null
    if (held.expiresAtMs !== 0 && held.expiresAtMs <= nowMs) return null
    const { all, ...stored } = held
    return all ? { ...stored, parts: new PartsInMap(stored.value, all) } : stored
  }

  #store(names: readonly string[], { next }: Stepped): void {
    next?.forEach((held, i) => {
      if (held === undefined) return
      const before = this.#values.get(names[i]!)
      if (held === null) this.#values.delete(names[i]!)
      else this.#values.set(names[i]!, this.#inParts(held, before))
    })
  }

  /** As it is stored: what is long in parts. */
  #inParts({ parts, changedParts, ...held }: Held, before: StoredHeld | undefined): StoredHeld {
    const { kind, value } = held
    if (kind === undefined) return held
    if (isLarge(value) && !changedParts && parts && before?.value !== value) {
      // Of another key (RENAME).
      const read = parts as PartsInMap
      return this.#inParts(
        { ...held, value: read.while(() => inOneGo(inOnePiece(kind, value, read))) },
        before,
      )
    }
    if (!isLarge(value)) {
      if (value.length <= sizes.largeFrom) return held
      const made = inOneGo(inParts(kind, value, randomBytes(8)))
      if ('reply' in made) throw new Error('it cannot be stored in parts')
      return { ...held, value: made.root, all: made.parts }
    }
    const all = new Map(before!.all)
    if (!changedParts) return { ...held, all }
    for (const [id, part] of changedParts) {
      if (part) all.set(id, part)
      else all.delete(id)
    }
    if (kind === KIND_STREAM) expectWholeStream(value, all)
    else expectWhole(kind, value, all)
    this.partsOfChanged += all.size
    return { ...held, all }
  }
}

/** What is stored of a key, with all parts. */
interface StoredHeld extends Held {
  readonly all?: ReadonlyMap<number, Buffer>
}

function copied(held: readonly (Held | null | undefined)[]): object[] {
  return held.map((one) => {
    if (!one) return []
    const { parts, ...stored } = one
    return structuredClone([stored, parts instanceof PartsInMap ? [...parts.all] : []])
  })
}

function whileNeeded<T>(held: readonly (Held | null)[], run: () => T): T {
  const parts = held.flatMap((one) => (one?.parts instanceof PartsInMap ? [one.parts] : []))
  return parts.reduce((inner, one) => () => one.while(inner), run)()
}

/** Items of a reply may be made when they are encoded: the bytes tell whether they are equal. */
function toCompare({ reply, next }: Stepped): object {
  return { bytes: [encodeReply(reply, 2), encodeReply(reply, 3)], next }
}

/** What it says that it needs is enough, with a record of that and no more. */
function expectNoMoreNeeded(
  step: Step,
  held: readonly (Held | null)[],
  stepped: Stepped,
  nowMs: number,
): void {
  const { needs } = step
  if (needs === 'value') return
  const parts = held.map((one) => {
    if (!one) return null
    const stored = new StoredRecord(
      Buffer.concat([record(1, '', one.kind === undefined ? {} : { kind: one.kind }).head, one.value]),
    )
    return knownOf(PeekedRecord.of(stored, needs), one.expiresAtMs)
  })
  expect(toCompare(applyTo(step, parts, nowMs))).to.deep.equal(toCompare(stepped))
}

function expectBlind(step: Step, stepped: Stepped, nowMs: number): void {
  const nothing = step.keys.map(() => null)
  const something = step.keys.map(() => ({ value: Buffer.from('other'), expiresAtMs: nowMs + 1 }))
  expect(applyTo(step, nothing, nowMs)).to.deep.equal(stepped)
  expect(applyTo(step, something, nowMs)).to.deep.equal(stepped)
}
