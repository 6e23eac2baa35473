/**
 * Whether a history of operations on one register is linearizable: Wing & Gong's search ("Testing and Verifying
 * Concurrent Objects", 1993), remembering what was tried (Lowe, "Testing for linearizability", 2017).
 *
 * The register holds a number, a collection (collections.ts) or nothing. An operation that ended takes effect once between its start and its end; one
 * with an unknown outcome takes effect at any time after its start, or never.
 */
import { collectionsAfter, isOnCollection, onlyLooks, type CollectionKind } from './collections.ts'
import type { Told } from './told.ts'

export interface HistoryEntry {
  readonly kind:
    | 'read'
    | 'write'
    | 'tag-write'
    | 'invalidate'
    | 'delete'
    | 'delete-job'
    | 'nx'
    | 'cas'
    | 'incr'
    | 'take'
    | 'add'
    | CollectionKind
  /** What it writes, or adds. */
  readonly value: number
  readonly expected: number | null
  /** Order of events, not time. */
  readonly start: number
  /** Infinity where the outcome is unknown. */
  readonly end: number
  readonly known: boolean
  /** read, take: what was there. nx, cas: 1 done, 0 refused. incr, add: the sum. Of collections: the reply. */
  readonly result: Told | undefined
  /** When the value written expires, true time; 0 = never. */
  readonly expiresAtMs: number
  readonly startMs: number
  readonly endMs: number
  /** Of collections: what it concerns. */
  readonly about?: string | null
  /** tag-write: its tag was invalidated meanwhile, so that it may leave nothing. */
  readonly mayBeGone?: boolean
  /** delete-job: what was written after it had been confirmed. */
  readonly stays?: ReadonlySet<number>
}

export type Verdict = 'linearizable' | 'violated' | 'undecided'

interface State {
  readonly value: Told
  readonly expiresAtMs: number
  readonly tagged: boolean
}

const NOTHING: State = { value: null, expiresAtMs: 0, tagged: false }
const MAX_STEPS = 1_000_000
/** Each of which takes longer. */
const MAX_STEPS_ON_STREAMS = 200_000

/** @param clockErrorMs by how much two coordinators may disagree about the time */
export function checkLinearizable(history: readonly HistoryEntry[], clockErrorMs: number): Verdict {
  // Most histories need no element that nobody has seen, and without these the search is short.
  const known = history.filter((entry) => !isUnseen(entry, history))
  if (known.length < history.length && checkAll(known, clockErrorMs) === 'linearizable') return 'linearizable'
  return checkAll(history, clockErrorMs)
}

/** An element that may have been added, and that no answer mentions. */
function isUnseen({ kind, known, value }: HistoryEntry, history: readonly HistoryEntry[]): boolean {
  if (known || (kind !== 'push' && kind !== 'append')) return false
  return !history.some((other) => other.known && String(other.result).includes(String(value)))
}

function checkAll(history: readonly HistoryEntry[], clockErrorMs: number): Verdict {
  // Reads whose outcome nobody knows say nothing. Known operations first: most histories need no unknown one.
  const entries = history
    .filter((entry) => entry.known || !(entry.kind === 'read' || onlyLooks(entry.kind)))
    .sort((a, b) => a.end - b.end || a.start - b.start)
  const n = entries.length
  const required = entries.filter((entry) => entry.known).length
  const done = new Uint8Array(n)
  const tried = new Set<string>()
  const maxSteps = entries.some(({ kind }) => kind === 'append') ? MAX_STEPS_ON_STREAMS : MAX_STEPS
  let steps = 0

  const search = (state: State, requiredDone: number): boolean => {
    if (requiredDone === required) return true
    if (++steps > maxSteps) return false
    const key = `${String.fromCharCode(...done)}|${state.value}|${state.expiresAtMs}|${state.tagged}`
    if (tried.has(key)) return false
    tried.add(key)
    let firstEnd = Infinity
    for (let i = 0; i < n; i++) if (!done[i] && entries[i]!.end < firstEnd) firstEnd = entries[i]!.end
    for (let i = 0; i < n; i++) {
      const entry = entries[i]!
      if (done[i] || entry.start > firstEnd) continue
      for (const next of outcomes(entry, state, clockErrorMs)) {
        // As if it never took effect.
        if (!entry.known && isSame(next, state)) continue
        done[i] = 1
        if (search(next, requiredDone + (entry.known ? 1 : 0))) return true
        done[i] = 0
      }
    }
    return false
  }

  if (search(NOTHING, 0)) return 'linearizable'
  return steps > maxSteps ? 'undecided' : 'violated'
}

function isSame(one: State, other: State): boolean {
  return one.value === other.value && one.expiresAtMs === other.expiresAtMs && one.tagged === other.tagged
}

/** What the register may hold after the operation; none when it cannot have happened in this state. */
function outcomes(entry: HistoryEntry, state: State, errorMs: number): State[] {
  const states: State[] = []
  const expires = state.value !== null && state.expiresAtMs > 0
  const maySee = !expires || entry.startMs < state.expiresAtMs + errorMs
  const mayMiss = state.value === null || (expires && entry.endMs >= state.expiresAtMs - errorMs)
  if (state.value !== null && maySee) states.push(...after(entry, state, state))
  if (mayMiss) states.push(...after(entry, NOTHING, state))
  return states
}

/** @param seen what the operation sees @param state what is there, seen or not */
function after(entry: HistoryEntry, seen: State, state: State): State[] {
  const { kind, known, result } = entry
  const written: State = { value: entry.value, expiresAtMs: entry.expiresAtMs, tagged: kind === 'tag-write' }
  if (isOnCollection(kind)) {
    const held = seen.value === null ? null : String(seen.value)
    const effect = { value: entry.value, about: entry.about ?? null, result: known ? result : undefined }
    const found = collectionsAfter(kind, effect, held)
    return found.map((value) => ({ value, expiresAtMs: seen.expiresAtMs, tagged: false }))
  }
  switch (kind) {
    case 'read':
      return result === seen.value ? [state] : []
    case 'write':
      return [written]
    case 'tag-write':
      return entry.mayBeGone ? [written, NOTHING] : [written]
    case 'invalidate':
      return seen.tagged ? [NOTHING] : [state]
    case 'delete':
      return [NOTHING]
    case 'delete-job':
      return [typeof seen.value === 'number' && entry.stays?.has(seen.value) ? state : NOTHING]
    case 'nx':
      if (known && result === 0) return seen.value === null ? [] : [state]
      return seen.value === null ? [written] : []
    case 'cas':
      // A refusal says nothing: the same value may have got another version.
      if (known && result === 0) return [state]
      return seen.value !== null && seen.value === entry.expected ? [written] : []
    case 'incr':
    case 'add': {
      const sum = Number(seen.value ?? 0) + (kind === 'add' ? entry.value : 1)
      return known && result !== sum
        ? []
        : [{ value: sum, expiresAtMs: seen.expiresAtMs, tagged: seen.tagged }]
    }
    case 'take':
      return known && result !== seen.value ? [] : [NOTHING]
  }
}
