/**
 * Scripts that name keys which they were not given: the transaction begins again with those keys, and the script from its
 * start. It is pure, so nothing of its first run remains.
 *
 *   read the keys ──▶ run ──▶ stored
 *        ▲             └──▶ needs further keys: are they of the same replica set? ──no──▶ CROSSSLOT
 *        └───────────────────────────yes──┘
 *
 * A script that has done so once is rehearsed from then on: it runs over values that are only read, until it needs no
 * further key; then comes the transaction on all of them, which runs it again over what it has read itself. So a rehearsal
 * only guesses at the keys, and it does not matter how old the values were. Meanwhile others like it wait (Namers).
 */
import { RondoError } from '../../core/errors.ts'
import type { Caller } from '../model.ts'
import type { ClientCall, KeyStore } from '../../coordinator/api.ts'
import { readRecord } from '../../coordinator/promises.ts'
import type { StoredRecord } from '../../core/codec.ts'
import { clientKey } from '../../core/keys.ts'
import { printable } from '../../core/printable.ts'
import { waitFor, type Sliced } from '../../core/work.ts'
import { CommandError, distinct, type Held, type Scripted, type Stepped, type StepOf } from '../step.ts'

/** Of one that runs in this thread. */
const UNITS_A_SCRIPT = 8
/** Attempts and rehearsals. */
const MOST_TIMES = 100
/** What it names may be so many times MAX_BATCH_KEYS: scripts that walk a collection name several for each element. */
const NAMED_TIMES = 10

/** A transaction cannot end without these keys. */
export class MoreKeys extends RondoError {
  readonly step: StepOf<'value', Held>
  readonly keys: readonly Buffer[]
  /** The first so many are needed; the others probably. */
  readonly certain: number

  constructor(step: StepOf<'value', Held>, keys: readonly Buffer[], certain: number) {
    super('INTERNAL', 'A script needs further keys.', { outcome: 'not-applied' })
    this.step = step
    this.keys = keys
    this.certain = certain
  }
}

/** Runs the script of this step over what its keys hold. */
export function* runScript(
  step: StepOf<'value', Held>,
  held: readonly (Held | null)[],
  nowMs: number,
): Sliced<Stepped | MoreKeys> {
  const run = step.script!.run(held, nowMs)
  const isHere = !(run instanceof Promise)
  if (isHere) yield UNITS_A_SCRIPT
  const outcome = isHere ? run : yield* waitFor(run)
  return 'wants' in outcome ? new MoreKeys(step, outcome.wants, outcome.certain) : outcome
}

export interface Tries<S, T> {
  /** Rejects with MoreKeys if a script needs some. */
  attempt(steps: readonly S[], keys: readonly Buffer[], call: ClientCall | undefined): Promise<T>
  /** The same over these values, without effect; MoreKeys, or whatever else it comes to. */
  rehearse(
    steps: readonly S[],
    keys: readonly Buffer[],
    current: readonly (StoredRecord | null)[],
    call: ClientCall | undefined,
  ): Promise<unknown>
}

/** @throws CommandError if these keys cannot be changed together */
export async function withMoreKeys<S extends object | null, T>(
  caller: Caller,
  steps: readonly S[],
  keys: readonly Buffer[],
  tries: Tries<S, T>,
): Promise<T> {
  const scripts = steps.flatMap((step) => scriptOf(step) ?? [])
  if (scripts.length === 0) return tries.attempt(steps, keys, undefined)
  await Promise.all(scripts.map((script) => script.ready()))
  const named = await Promise.all(scripts.map((script) => script.namesKeys()))
  const naming = new Naming(caller, steps, keys, Math.max(...named))
  try {
    return await naming.carriedOut(tries)
  } finally {
    naming.end()
  }
}

class Naming<S extends object | null> {
  private readonly caller: Caller
  private steps: readonly S[]
  private keys: readonly Buffer[]
  private call: ClientCall | undefined
  /** So often it is rehearsed at most, before it is tried. */
  private rehearsals: number
  /** Runs that have named further keys. */
  private named = 0
  private endTurn: (() => void) | null = null
  /** What rehearsals have read, by place. */
  private read: (StoredRecord | null)[] = []
  private heldBytes = 0

  constructor(caller: Caller, steps: readonly S[], keys: readonly Buffer[], rehearsals: number) {
    this.caller = caller
    this.steps = steps
    this.keys = keys
    this.rehearsals = rehearsals
  }

  async carriedOut<T>(tries: Tries<S, T>): Promise<T> {
    const takesTurn = this.rehearsals > 0
    if (takesTurn) this.begin(this.steps.flatMap((step) => scriptOf(step) ?? [])[0]!)
    for (let times = 1; ; times++) {
      if ((takesTurn || times > 1) && this.keys.length > 0) await this.turn()
      if (times > MOST_TIMES) throw new CommandError(tooOften(MOST_TIMES))
      if (this.rehearsals > 0) {
        const wanted = await this.rehearsed(tries)
        if (wanted) this.grow(wanted)
        this.rehearsals = wanted ? this.rehearsals - 1 : 0
        continue
      }
      this.forget()
      const end = await this.attempted(tries)
      if (!(end instanceof MoreKeys)) return end.value
      this.grow(end)
      // What a first attempt has not told is seldom more than one step further.
      if (times > 1) this.rehearsals = MOST_TIMES
    }
  }

  end(): void {
    this.forget()
    this.endTurn?.()
  }

  private async turn(): Promise<void> {
    this.endTurn ??= await this.caller.scripts.namers.turn(this.keys[0]!)
  }

  private async attempted<T>(tries: Tries<S, T>): Promise<MoreKeys | { readonly value: T }> {
    try {
      for (const step of this.steps) scriptOf(step)?.reads()
      return { value: await tries.attempt(this.steps, this.keys, this.call) }
    } catch (error) {
      if (error instanceof MoreKeys) return error
      throw error
    }
  }

  /** @returns null = it needs no more, or cannot tell: then the attempt will */
  private async rehearsed<T>(tries: Tries<S, T>): Promise<MoreKeys | null> {
    const { store, account } = this.caller
    const options = { requester: this.caller, level: 'one', call: this.call } as const
    const further = this.keys.slice(this.read.length)
    try {
      const records = await Promise.all(further.map((key) => readRecord(store, key, options)))
      this.read = [...this.read, ...records]
      const bytes = records.reduce((sum, record) => sum + (record?.value.length ?? 0), 0)
      this.heldBytes += bytes
      account.add(bytes)
      if (account.isRefused) return null
      const outcome = await tries.rehearse(this.steps, this.keys, this.read, this.call)
      return outcome instanceof MoreKeys ? outcome : null
    } catch (error) {
      if (error instanceof RondoError) return null
      throw error
    }
  }

  private grow({ step, keys: wanted, certain }: MoreKeys): void {
    const { store, settings } = this.caller
    const script = step.script!
    script.hasNamedKeys(++this.named)
    this.begin(script)
    const most = settings.maxBatchKeys * NAMED_TIMES
    const needed = distinct([...this.keys, ...wanted.slice(0, certain)]).keys
    if (needed.length > most) throw new CommandError(tooMany(most))
    if (!store.sharesReplicaSet(needed)) throw new CommandError(crossSetOf(store, needed))
    const first = needed[0]!
    const guessed = wanted.slice(certain).filter((key) => store.sharesReplicaSet([first, key]))
    const further = [...wanted.slice(0, certain), ...guessed.slice(0, most - needed.length)]
    this.keys = distinct([...this.keys, ...further]).keys
    const grown = script.withKeys(further)
    this.steps = this.steps.map((one) => ((one as unknown) === step ? (grown as unknown as S) : one))
  }

  /** All that follows has the time of one attempt. */
  private begin({ dueAtMs }: Scripted): void {
    this.call ??= { gone: false, dueAtMs }
  }

  private forget(): void {
    this.read = []
    this.caller.account.add(-this.heldBytes)
    this.heldBytes = 0
  }
}

function scriptOf(step: object | null): Scripted | null {
  return step && 'script' in step ? (step.script as Scripted) : null
}

function tooOften(most: number): string {
  return `ERR The script has named keys one after the other that it was not given, ${most} times: name them in KEYS.`
}

function tooMany(most: number): string {
  return `ERR A script may name at most ${most} keys (${NAMED_TIMES} × MAX_BATCH_KEYS).`
}

const MOST_SHOWN_BYTES = 64

/** Why a script cannot have all these keys, which do not share a replica set: the first of them decides which. */
export function crossSetOf(store: Pick<KeyStore, 'sharesReplicaSet'>, keys: readonly Buffer[]): string {
  const [first, ...others] = keys as readonly [Buffer, ...Buffer[]]
  const other = others.find((key) => !store.sharesReplicaSet([first, key])) ?? first
  return (
    "CROSSSLOT Keys of a script don't hash to the same slot: " +
    `'${shown(other)}' is not of the replica set of '${shown(first)}'. ` +
    `Give all its keys the same {hash tag}, as in '${tagged(first)}'. Nothing was changed.`
  )
}

/** As its client has named it. */
function shown(stored: Buffer): string {
  const key = clientKey(stored)?.key ?? stored
  return printable(key.toString('utf8', 0, MOST_SHOWN_BYTES))
}

function tagged(key: Buffer): string {
  const text = shown(key)
  return /\{[^}]+\}/.test(text) ? text : `{${text}}`
}
