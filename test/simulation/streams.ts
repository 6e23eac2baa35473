/**
 * Operations on a stream with one consumer group, and a model of it, as in collections.ts.
 *
 * An entry is called by the number that it was added with; its id is known once somebody was told. What nobody knows is not
 * forgotten: an XADD without an answer may have added an entry, whose id the first one who reads it tells.
 */
import { NULL_ARRAY, RespError, type Reply } from '../../src/commands/reply.ts'
import { plain, type Effect, type Operands, type Plain, type Told } from './told.ts'

export type StreamKind = 'group' | 'append' | 'deliver' | 'deliver-some' | 'acknowledge' | 'claim' | 'entries'

export const STREAM = 'stream'
const GROUP = 'g'
const FIELD = 'f'
const MOST_PARSED = 10_000
/** So many entries are delivered at once, if there are. */
const SOME = 3

export const STREAM_COMMANDS: Readonly<Record<StreamKind, readonly [command: string, Operands]>> = {
  group: ['xgroup', () => ['create', 'KEY', GROUP, '0', 'mkstream']],
  append: ['xadd', (value) => ['*', FIELD, String(value)]],
  deliver: [
    'xreadgroup',
    (value) => ['group', GROUP, consumerOf(value), 'count', '1', 'streams', 'KEY', '>'],
  ],
  'deliver-some': [
    'xreadgroup',
    (value) => ['group', GROUP, consumerOf(value), 'count', String(SOME), 'streams', 'KEY', '>'],
  ],
  acknowledge: ['xack', (_value, about) => [GROUP, about!.split('=')[0]!]],
  // Of any age: the model has no clock.
  claim: ['xautoclaim', (value) => [GROUP, consumerOf(value), '0', '0-0', 'count', '1']],
  entries: ['xrange', () => ['-', '+']],
}

const REFUSALS = new Map([
  ['NOGROUP', 'no group'],
  ['BUSYGROUP', 'known group'],
])

export function isOnStream(kind: string): kind is StreamKind {
  return Object.hasOwn(STREAM_COMMANDS, kind)
}

export function consumerOf(value: number): string {
  return `consumer-${value % 3}`
}

/** What was told: ids, `id=number` of an entry, or of all of them. */
export function streamToldBy(kind: StreamKind, reply: Reply): Told {
  if (reply instanceof RespError) {
    const known = REFUSALS.get(reply.text.split(' ')[0]!)
    if (known) return known
  }
  if (reply === NULL_ARRAY) return null
  const told = plain(reply)
  switch (kind) {
    case 'group':
      return 'made'
    case 'append':
    case 'acknowledge':
      return told as Told
    case 'deliver':
    case 'deliver-some':
      return entriesIn((told as readonly [readonly [Plain, Plain]])[0][1])
    case 'claim':
      return entriesIn((told as readonly [Plain, Plain])[1])
    case 'entries':
      return entriesIn(told)
  }
}

function entriesIn(told: Plain): string | null {
  const entries = (told as readonly (readonly [string, readonly string[]])[]).map(
    ([id, fields]) => `${id}=${fields[1]}`,
  )
  return entries.join(',') || null
}

interface Entry {
  readonly value: number
  /** Null = nobody was told yet. */
  readonly id: string | null
}

interface Stream {
  readonly hasGroup: boolean
  readonly entries: readonly Entry[]
  /** How many of them were delivered. */
  readonly delivered: number
  /** Numbers of those that were delivered and not acknowledged, in the order of the stream. */
  readonly pending: readonly number[]
}

const NONE: Stream = { hasGroup: false, entries: [], delivered: 0, pending: [] }

export function afterOnStream(kind: StreamKind, effect: Effect, seen: string | null): (string | null)[] {
  const next = outcome(kind, effect, seen === null ? NONE : streamOf(seen))
  if (next === null) return []
  return [next === NONE ? null : textOf(next)]
}

/** A search comes by the same ones again and again. */
let parsed = new Map<string, Stream>()

function streamOf(text: string): Stream {
  let stream = parsed.get(text)
  if (!stream) parsed.set(text, (stream = JSON.parse(text) as Stream))
  return stream
}

function textOf(stream: Stream): string {
  if (parsed.size > MOST_PARSED) parsed = new Map()
  const text = JSON.stringify(stream)
  parsed.set(text, stream)
  return text
}

/** Null = it cannot have been told this. */
function outcome(kind: StreamKind, { value, about, result }: Effect, stream: Stream): Stream | null {
  const { entries, delivered, pending, hasGroup } = stream
  const isTold = (told: Told) => result === undefined || result === told
  switch (kind) {
    case 'group':
      if (hasGroup) return isTold('known group') ? stream : null
      return isTold('made') ? { ...stream, hasGroup: true } : null
    case 'append': {
      const own = (result ?? null) as string | null
      if (own !== null && entries.some((entry) => entry.id !== null && !isLater(own, entry.id))) return null
      return { ...stream, entries: [...entries, { value, id: own }] }
    }
    case 'deliver':
    case 'deliver-some': {
      if (!hasGroup) return isTold('no group') ? stream : null
      const next = entries.slice(delivered, delivered + (kind === 'deliver' ? 1 : SOME))
      if (next.length === 0) return isTold(null) ? stream : null
      const known = seenAll(stream, next, result)
      const values = next.map((entry) => entry.value)
      return known && { ...known, delivered: delivered + next.length, pending: [...pending, ...values] }
    }
    case 'acknowledge': {
      const acked = numberIn(about!)
      const isPending = pending.includes(acked)
      if (!isTold(isPending ? 1 : 0)) return null
      return isPending ? { ...stream, pending: pending.filter((one) => one !== acked) } : stream
    }
    case 'claim': {
      if (!hasGroup) return isTold('no group') ? stream : null
      const entry = entries.find((one) => one.value === pending[0])
      if (!entry) return isTold(null) ? stream : null
      return seenAs(stream, entry, result)
    }
    case 'entries':
      return seesAll(stream, result as string | null)
  }
}

/** The stream, with the id that this entry was told of with; null = another one was told. */
function seenAs(stream: Stream, entry: Entry, result: Told | undefined): Stream | null {
  if (result === undefined) return stream
  if (typeof result !== 'string' || !result.includes('=')) return null
  const id = result.split('=')[0]!
  if (numberIn(result) !== entry.value || (entry.id !== null && entry.id !== id)) return null
  return known(stream, entry.value, id)
}

/** The same of several, all that was told. */
function seenAll(stream: Stream, entries: readonly Entry[], result: Told | undefined): Stream | null {
  if (result === undefined) return stream
  const told = typeof result === 'string' ? result.split(',') : []
  if (told.length !== entries.length) return null
  let seen: Stream | null = stream
  for (const [i, entry] of entries.entries()) seen &&= seenAs(seen, entry, told[i])
  return seen
}

function seesAll(stream: Stream, result: string | null): Stream | null {
  const seen = seenAll(stream, stream.entries, result ?? null)
  const ids = (result?.split(',') ?? []).map((one) => one.split('=')[0]!)
  return ids.every((id, i) => i === 0 || isLater(id, ids[i - 1]!)) ? seen : null
}

function known(stream: Stream, value: number, id: string): Stream {
  const entries = stream.entries.map((entry) => (entry.value === value ? { value, id } : entry))
  return { ...stream, entries }
}

function numberIn(told: string): number {
  return Number(told.split('=')[1])
}

function isLater(id: string, other: string): boolean {
  const [ms, number] = id.split('-').map(Number) as [number, number]
  const [otherMs, otherNumber] = other.split('-').map(Number) as [number, number]
  return ms > otherMs || (ms === otherMs && number > otherNumber)
}
