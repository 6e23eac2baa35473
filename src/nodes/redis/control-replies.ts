/**
 * Validates replies on the control path on receipt; later code relies on it. An invalid reply throws NotAnAnswer, after
 * which its connection is not used again.
 *
 * Framing is checked before (control-stream.ts): a reply is null, an integer, a Buffer, or an array of these.
 */
import { VERSION_BYTES } from '../../core/clock.ts'
import { printable } from '../../core/printable.ts'
import { NodeCallFailed, WRONG_TYPE } from '../failures.ts'
import { isHeld, prepareOutcome } from './data-replies.ts'
import {
  MAX_CHECKED_IN,
  MAX_NOTE_BYTES,
  type CheckedIn,
  type HintPage,
  type RegisterAnswer,
  type DroppedPage,
  type ScanPage,
} from '../node.ts'

/** The node sent a reply that is not valid for its command. */
export class NotAnAnswer extends Error {
  constructor(command: string, reply: unknown) {
    super(`the node answered ${command} with ${shown(reply)}, which is not an answer to it`)
  }
}

/** The year 6429: versions have no room for more (core/clock.ts). */
const LATEST_SECONDS = 2 ** 47 / 1000
const MAX_MICROSECONDS = 999_999
const MAX_CURSOR_DIGITS = 20
const MAX_SHOWN_ELEMENTS = 4
/** Limit for texts of INFO in /status and logs. */
const MAX_INFO_CHARACTERS = 64
const MAX_RUN_ID_CHARACTERS = 64

/** Milliseconds since 1970. */
export function timeReply(reply: unknown): number {
  if (!Array.isArray(reply) || reply.length !== 2) throw new NotAnAnswer('TIME', reply)
  const [seconds, microseconds] = reply.map((part: unknown) => decimalOf(part))
  if (seconds === undefined || microseconds === undefined) throw new NotAnAnswer('TIME', reply)
  if (!(seconds <= LATEST_SECONDS && microseconds <= MAX_MICROSECONDS)) throw new NotAnAnswer('TIME', reply)
  return seconds * 1000 + microseconds / 1000
}

export function bytesOrNil(command: string, reply: unknown): Buffer | null {
  if (reply !== null && !Buffer.isBuffer(reply)) throw new NotAnAnswer(command, reply)
  return reply
}

/** GETRANGE of a whole value: null = nothing is stored, or an empty string. */
export function bytesReply(reply: unknown): Buffer | null {
  if (!Buffer.isBuffer(reply)) throw new NotAnAnswer('GETRANGE', reply)
  return reply.length > 0 ? reply : null
}

export interface Info {
  readonly runId: string
  /** `cluster` and `sentinel` are no nodes. */
  readonly mode: string
  readonly aofEnabled: boolean
  readonly software: string
  readonly isReplica: boolean
  readonly replid: string
  readonly usedMemory: number
  readonly maxMemory: number
  readonly evictionPolicy: string
  readonly evictedKeys: number
  readonly keys: number
}

export function infoReply(reply: unknown): Info {
  if (!Buffer.isBuffer(reply)) throw new NotAnAnswer('INFO', reply)
  const fields = new Map<string, string>()
  for (const line of reply.toString('utf8').split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1))
  }
  const text = (name: string) => printable(fields.get(name) ?? '', MAX_INFO_CHARACTERS)
  const count = (name: string) => {
    const n = decimalOf(fields.get(name) ?? '0')
    if (n === undefined) throw new NotAnAnswer('INFO', `${name}:${fields.get(name)}`)
    return n
  }
  const runId = fields.get('run_id') ?? ''
  if (!/^[\w-]+$/.test(runId) || runId.length > MAX_RUN_ID_CHARACTERS) {
    throw new NotAnAnswer('INFO', `run_id:${runId}`)
  }
  const valkey = text('valkey_version')
  return {
    runId,
    mode: text('redis_mode') || text('server_mode'),
    aofEnabled: fields.get('aof_enabled') === '1',
    software: valkey ? `valkey ${valkey}` : `redis ${text('redis_version')}`,
    isReplica: fields.get('role') === 'slave',
    replid: text('master_replid'),
    usedMemory: count('used_memory'),
    maxMemory: count('maxmemory'),
    evictionPolicy: text('maxmemory_policy'),
    evictedKeys: count('evicted_keys'),
    keys: keysOf(fields.get('db0')),
  }
}

/** `keys=3,expires=1,avg_ttl=0`; absent in an empty database. */
function keysOf(text = 'keys=0'): number {
  const keys = decimalOf(/^keys=(\d+)/.exec(text)?.[1] ?? '')
  if (keys === undefined) throw new NotAnAnswer('INFO', `db0:${text}`)
  return keys
}

/** An integer in this range. */
export function integerReply(command: string, reply: unknown, from: number, to: number): number {
  if (!isWhole(reply) || reply < from || reply > to) throw new NotAnAnswer(command, reply)
  return reply
}

/** Reply of a script that returns 1 for yes, 0 for no. */
export function yesOrNo(script: string, reply: unknown): boolean {
  return integerReply(script, reply, 0, 1) === 1
}

export function okReply(command: string, reply: unknown): void {
  if (!isText(reply, 'OK')) throw new NotAnAnswer(command, reply)
}

/** @param sha of the script that was loaded */
export function loadedReply(reply: unknown, sha: string): void {
  if (!isText(reply, sha)) throw new NotAnAnswer('SCRIPT LOAD', reply)
}

/** CONFIG GET of one setting; null if the node does not have it. */
export function settingReply(reply: unknown, name: string): string | null {
  if (!Array.isArray(reply)) throw new NotAnAnswer('CONFIG GET', reply)
  const [found, value, ...rest] = reply as unknown[]
  if (found === undefined) return null
  if (!isText(found, name) || !Buffer.isBuffer(value) || rest.length > 0)
    throw new NotAnAnswer('CONFIG GET', reply)
  return printable(value)
}

export function hintPageReply(reply: unknown): HintPage {
  if (!Array.isArray(reply) || reply.length !== 2) throw new NotAnAnswer('HSCAN', reply)
  const [cursor, flat] = reply as unknown[]
  if (!Array.isArray(flat)) throw new NotAnAnswer('HSCAN', reply)
  const hints = pairsOf('HSCAN', flat).map(([key, version]) => ({ key, version }))
  // Only Rondo writes there, and it writes versions.
  if (hints.some(({ version }) => version.length !== VERSION_BYTES)) throw new NotAnAnswer('HSCAN', reply)
  return { cursor: cursorOf('HSCAN', cursor), hints }
}

/** @param headBytes the requested limit per record */
export function scanPageReply(reply: unknown, headBytes: number): ScanPage {
  if (!Array.isArray(reply)) throw new NotAnAnswer('scan', reply)
  const [cursor, ...flat] = reply as unknown[]
  const entries = pairsOf('scan', flat).map(([key, head]) => ({ key, head }))
  if (entries.some(({ head }) => head.length > headBytes)) throw new NotAnAnswer('scan', reply)
  return { cursor: cursorOf('scan', cursor), entries }
}

export function droppedPageReply(reply: unknown): DroppedPage | null {
  if (reply === null) return null
  const [cursor, dropped, ...rest] = Array.isArray(reply) ? (reply as unknown[]) : []
  if (rest.length > 0) throw new NotAnAnswer('drop-below', reply)
  return {
    cursor: cursorOf('drop-below', cursor),
    dropped: integerReply('drop-below', dropped, 0, Number.MAX_SAFE_INTEGER),
  }
}

/** Null = another marker. Notes that are too long are left out: no coordinator writes such. */
export function checkInReply(reply: unknown): readonly CheckedIn[] | null {
  if (reply === 0) return null
  if (!Array.isArray(reply) || reply.length % 3 !== 0 || reply.length > 3 * MAX_CHECKED_IN) {
    throw new NotAnAnswer('check-in', reply)
  }
  const found: CheckedIn[] = []
  for (let i = 0; i < reply.length; i += 3) {
    const [id, agoMs, text] = reply.slice(i, i + 3) as unknown[]
    const isNote = Buffer.isBuffer(id) && isWhole(agoMs) && agoMs >= 0 && Buffer.isBuffer(text)
    if (!isNote) throw new NotAnAnswer('check-in', reply)
    if (text.length <= MAX_NOTE_BYTES) found.push({ id: printable(id, 64), agoMs, text: text.toString() })
  }
  return found
}

export function prepareRegisterReply(reply: unknown): RegisterAnswer {
  const outcome = Buffer.isBuffer(reply) ? prepareOutcome(reply) : null
  switch (outcome?.kind) {
    case 'promised':
      return { ok: true, record: outcome.record }
    case 'refused':
      return { ok: false, newest: outcome.newest }
    case 'other-type':
      throw new NodeCallFailed(WRONG_TYPE.message)
    default:
      throw new NotAnAnswer('prepare', reply)
  }
}

export function acceptRegisterReply(reply: unknown): RegisterAnswer {
  if (reply === 1) return { ok: true, record: null }
  if (!Buffer.isBuffer(reply) || !isHeld(reply)) throw new NotAnAnswer('accept', reply)
  return { ok: false, newest: reply.subarray(0, VERSION_BYTES) }
}

/** Names out of the requested commands. */
export function namesReply(script: string, reply: unknown, known: readonly string[]): readonly string[] {
  if (!Array.isArray(reply)) throw new NotAnAnswer(script, reply)
  return reply.map((name: unknown) => {
    const text = Buffer.isBuffer(name) ? name.toString('latin1') : ''
    if (!known.includes(text)) throw new NotAnAnswer(script, reply)
    return text
  })
}

function cursorOf(command: string, cursor: unknown): string {
  const text = Buffer.isBuffer(cursor) ? cursor.toString('latin1') : ''
  if (!/^\d+$/.test(text) || text.length > MAX_CURSOR_DIGITS) throw new NotAnAnswer(command, cursor)
  return text
}

function pairsOf(command: string, flat: readonly unknown[]): [Buffer, Buffer][] {
  const pairs: [Buffer, Buffer][] = []
  for (let i = 0; i < flat.length; i += 2) {
    const [first, second] = [flat[i], flat[i + 1]]
    if (!Buffer.isBuffer(first) || !Buffer.isBuffer(second)) throw new NotAnAnswer(command, flat)
    pairs.push([first, second])
  }
  return pairs
}

/** An integer written in digits only. */
function decimalOf(text: unknown): number | undefined {
  const digits = Buffer.isBuffer(text) ? text.toString('latin1') : text
  if (typeof digits !== 'string' || !/^\d{1,16}$/.test(digits)) return undefined
  const n = Number(digits)
  return Number.isSafeInteger(n) ? n : undefined
}

function isWhole(reply: unknown): reply is number {
  return typeof reply === 'number' && Number.isSafeInteger(reply)
}

function isText(reply: unknown, text: string): boolean {
  return Buffer.isBuffer(reply) && reply.length === text.length && reply.toString('latin1') === text
}

function shown(reply: unknown): string {
  if (reply === null) return 'nil'
  if (Array.isArray(reply)) {
    const first = reply.slice(0, MAX_SHOWN_ELEMENTS).map((part: unknown) => shown(part))
    return printable(`[${first.join(', ')}${reply.length > first.length ? `, … (${reply.length})` : ''}]`)
  }
  if (Buffer.isBuffer(reply)) return `"${printable(reply)}"`
  return typeof reply === 'string' ? `"${printable(reply)}"` : JSON.stringify(reply)
}
