/** The operations of the exercise's clients: what each sends, and what it does to the value that it finds. */
import type { Random } from '../support/random.ts'
import type { Clients } from './clients.ts'
import type { Apply } from './values.ts'

export type Level = 'one' | 'quorum' | 'all'

export interface Step {
  readonly name: string
  readonly apply: Apply
  /** @returns the reply as text @throws Error whatever came instead of one */
  readonly send: (clients: Clients, key: string, level: Level) => Promise<string | null>
  /** It leaves what is there as it is. */
  readonly isRead?: boolean
}

/** What clients do to the keys of one kind. */
export interface Kind {
  readonly level: Level
  /** Its keys are never deleted, and have no end: they must be found at any level, and told by every SCAN. */
  readonly stays: boolean
  readonly first: string
  readonly step: (random: Random, text: string) => Step
}

const OK = 'OK'
const SHORT_LIVES_MS = [400, 900, 1500]
const HTTP_SHARE = 0.08

const get: Step = {
  name: 'GET',
  isRead: true,
  apply: (text) => ({ reply: text, after: text, life: 'as before' }),
  send: (clients, key, level) => clients.redis(level).get(key),
}
const set = (value: string): Step => ({
  name: 'SET',
  apply: () => ({ reply: OK, after: value, life: null }),
  send: (clients, key, level) => clients.redis(level).set(key, value),
})
const setWithLife = (value: string, lifeMs: number): Step => ({
  name: `SET PX ${lifeMs}`,
  apply: () => ({ reply: OK, after: value, life: lifeMs }),
  send: (clients, key, level) => clients.redis(level).set(key, value, 'PX', lifeMs),
})
const setIf = (value: string, condition: 'NX' | 'XX'): Step => ({
  name: `SET ${condition}`,
  apply: (text) =>
    (text === null) === (condition === 'NX')
      ? { reply: OK, after: value, life: null }
      : { reply: null, after: text, life: 'as before' },
  send: (clients, key, level) =>
    condition === 'NX'
      ? clients.redis(level).set(key, value, 'NX')
      : clients.redis(level).set(key, value, 'XX'),
})
const getSet = (value: string): Step => ({
  name: 'GETSET',
  apply: (text) => ({ reply: text, after: value, life: null }),
  send: (clients, key, level) => clients.redis(level).getset(key, value),
})
const append = (value: string): Step => ({
  name: 'APPEND',
  apply: (text) => {
    const after = (text ?? '') + value
    return { reply: String(after.length), after, life: text === null ? null : 'as before' }
  },
  send: async (clients, key, level) => String(await clients.redis(level).append(key, value)),
})
const incrBy = (by: number): Step => ({
  name: 'INCRBY',
  apply: (text) => {
    const after = String(Number(text ?? 0) + by)
    return { reply: after, after, life: text === null ? null : 'as before' }
  },
  send: async (clients, key, level) => String(await clients.redis(level).incrby(key, by)),
})
const del: Step = {
  name: 'DEL',
  apply: (text) => ({ reply: text === null ? '0' : '1', after: null, life: null }),
  send: async (clients, key, level) => String(await clients.redis(level).del(key)),
}
const getDel: Step = {
  name: 'GETDEL',
  apply: (text) => ({ reply: text, after: null, life: null }),
  send: (clients, key, level) => clients.redis(level).getdel(key),
}

// ---- over HTTP

const httpGet: Step = { ...get, name: 'HTTP GET', send: (clients, key, level) => clients.httpGet(key, level) }
const httpPut = (value: string): Step => ({
  ...set(value),
  name: 'HTTP PUT',
  send: async (clients, key, level) => {
    await clients.http('PUT', key, level, { value })
    return OK
  },
})
const httpDelete: Step = {
  name: 'HTTP DELETE',
  apply: () => ({ reply: OK, after: null, life: null }),
  send: async (clients, key, level) => {
    await clients.http('DELETE', key, level)
    return OK
  },
}
const httpIncr = (by: number): Step => ({
  ...incrBy(by),
  name: 'HTTP incr',
  send: async (clients, key, level) =>
    String((await clients.http('POST', key, level, { by }, '/incr')).json.value),
})

// ---- two keys with a hash tag, changed together: `5,-5`; null = neither is there

const pairOf = (key: string) => [`${key}:a`, `${key}:b`] as const
/** @throws Error also for a command within it that failed */
async function transact(replies: Promise<[Error | null, unknown][] | null>): Promise<unknown[]> {
  const all = (await replies) ?? []
  for (const [error] of all) if (error) throw error
  return all.map(([, reply]) => reply)
}
const pairText = ([a, b]: unknown[]) => (a === null && b === null ? null : `${String(a)},${String(b)}`)
const readPair: Step = {
  name: 'MULTI GET GET',
  isRead: true,
  apply: get.apply,
  send: async (clients, key, level) => {
    const [a, b] = pairOf(key)
    return pairText(await transact(clients.redis(level).multi().get(a).get(b).exec()))
  },
}
const moveInPair = (by: number): Step => ({
  name: 'MULTI INCRBY DECRBY',
  apply: (text) => {
    const [a, b] = (text ?? '0,0').split(',').map(Number)
    const after = `${a! + by},${b! - by}`
    return { reply: after, after, life: null }
  },
  send: async (clients, key, level) => {
    const [a, b] = pairOf(key)
    return pairText(await transact(clients.redis(level).multi().incrby(a, by).decrby(b, by).exec()))
  },
})
const deletePair: Step = {
  name: 'MULTI DEL DEL',
  apply: (text) => ({ reply: text === null ? '0,0' : '1,1', after: null, life: null }),
  send: async (clients, key, level) => {
    const [a, b] = pairOf(key)
    return pairText(await transact(clients.redis(level).multi().del(a).del(b).exec()))
  },
}

// ---- kinds of keys

const SHORT_TEXT = 400
const word = (random: Random) => `w${random.below(1e9).toString(36)}`

function textStep(random: Random, text: string, canEnd: boolean): Step {
  if (random.chance(HTTP_SHARE)) {
    return random.pick([httpGet, httpPut(word(random)), ...(canEnd ? [httpDelete] : [])])
  }
  const always = [get, get, get, set(word(random)), setIf(word(random), 'XX'), getSet(word(random))]
  const grows = text.length < SHORT_TEXT ? [append(word(random))] : []
  if (!canEnd) return random.pick([...always, ...grows])
  const lives = setWithLife(word(random), random.pick(SHORT_LIVES_MS))
  return random.pick([...always, ...grows, lives, del, getDel, setIf(word(random), 'NX')])
}

function counterStep(random: Random): Step {
  const by = 1 + random.below(9)
  if (random.chance(HTTP_SHARE)) return random.pick([httpGet, httpIncr(by)])
  return random.pick([get, get, incrBy(by), incrBy(by), getSet(String(by)), set(String(by)), del])
}

function pairStep(random: Random): Step {
  const by = 1 + random.below(9)
  return random.pick([readPair, readPair, moveInPair(by), moveInPair(by), moveInPair(by), deletePair])
}

/** At `one` nothing is promised about order: they are written, and must be found. */
function oneStep(random: Random): Step {
  return random.pick([get, get, httpGet, set(word(random)), setIf(word(random), 'XX'), getSet(word(random))])
}

const mayEnd: Kind = {
  level: 'quorum',
  stays: false,
  first: 'first',
  step: (random, text) => textStep(random, text, true),
}
const counter: Kind = { level: 'quorum', stays: false, first: '0', step: counterStep }
export const pair: Kind = { level: 'quorum', stays: false, first: '0,0', step: pairStep }
const atAll: Kind = { ...mayEnd, level: 'all' }
const atOne: Kind = { level: 'one', stays: true, first: 'first', step: oneStep }
const staying: Kind = {
  level: 'quorum',
  stays: true,
  first: 'first',
  step: (random, text) => textStep(random, text, false),
}

/** Of ten keys. */
export const KINDS: readonly Kind[] = [
  ...[mayEnd, mayEnd, mayEnd, counter, counter],
  ...[pair, atAll, atOne, staying, staying],
]

/** Reads a key of this kind as a client does. */
export function readOf(kind: Kind): Step {
  return kind === pair ? readPair : get
}

/** On the nodes. */
export function keysOf(kind: Kind, key: string): readonly string[] {
  return kind === pair ? pairOf(key) : [key]
}
