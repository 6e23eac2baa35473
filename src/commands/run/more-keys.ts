/**
 * Scripts that name keys which they were not given: the transaction begins again with those keys, and the script from its
 * start. It is pure, so nothing of its first run remains.
 *
 *   read the keys ──▶ run ──▶ stored
 *        ▲             └──▶ needs a further key: is it of the same replica set? ──no──▶ CROSSSLOT
 *        └──────────────────────────yes──┘
 */
import { RondoError } from '../../core/errors.ts'
import type { Caller } from '../model.ts'
import type { ClientCall, KeyStore } from '../../coordinator/api.ts'
import { clientKey } from '../../core/keys.ts'
import { printable } from '../../core/printable.ts'
import { CommandError, distinct, type Held, type Scripted, type StepOf } from '../step.ts'

/** Each begins the transaction anew. */
const MOST_TIMES = 100

/** A transaction cannot end without these keys. */
export class MoreKeys extends RondoError {
  readonly step: StepOf<'value', Held>
  readonly keys: readonly Buffer[]

  constructor(step: StepOf<'value', Held>, keys: readonly Buffer[]) {
    super('INTERNAL', 'A script needs further keys.', { outcome: 'not-applied' })
    this.step = step
    this.keys = keys
  }
}

/**
 * @param attempt rejects with MoreKeys if a script needs some
 * @throws CommandError if these keys cannot be changed together
 */
export async function withMoreKeys<S extends object | null, T>(
  caller: Pick<Caller, 'store' | 'settings' | 'readsFurther'>,
  steps: readonly S[],
  keys: readonly Buffer[],
  attempt: (steps: readonly S[], keys: readonly Buffer[], call: ClientCall | undefined) => Promise<T>,
): Promise<T> {
  const { store, settings } = caller
  let call: ClientCall | undefined
  const scripts = steps.flatMap((step) => scriptOf(step) ?? [])
  if (scripts.length > 0) await Promise.all(scripts.map((script) => script.ready()))
  for (let times = 1; ; times++) {
    try {
      return await attempt(steps, keys, call)
    } catch (error) {
      if (!(error instanceof MoreKeys)) throw error
      const { step, keys: further } = error
      // All attempts together have the time of one.
      call ??= { gone: false, dueAtMs: step.script!.dueAtMs }
      if (times === MOST_TIMES) throw new CommandError(tooOften(MOST_TIMES))
      keys = distinct([...keys, ...further]).keys
      if (keys.length > settings.maxBatchKeys) throw new CommandError(tooMany(settings.maxBatchKeys))
      if (!store.sharesReplicaSet(keys)) throw new CommandError(crossSetOf(store, keys))
      caller.readsFurther?.(further)
      const grown = step.script!.withKeys(further)
      steps = steps.map((one) => ((one as unknown) === step ? (grown as unknown as S) : one))
    }
  }
}

function scriptOf(step: object | null): Scripted | null {
  return step && 'script' in step ? (step.script as Scripted) : null
}

function tooOften(most: number): string {
  return `ERR The script has named keys one after the other that it was not given, ${most} times: name them in KEYS.`
}

function tooMany(most: number): string {
  return `ERR at most ${most} keys can be used by a script (MAX_BATCH_KEYS)`
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
