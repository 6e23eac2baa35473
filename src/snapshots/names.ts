/**
 * Names of snapshots, and of their files.
 *
 *   nightly.ndjson.gz                       a snapshot
 *   auto-20260131T020000Z.ndjson.gz         one of the schedule; SNAPSHOT_KEEP counts these
 *   lru-20260131T020000123Z.ndjson.gz      one of POST /save; the newest is kept
 *   .nightly.3f2a….web-1.4711.part          being written, by that process of that machine
 *
 * A name is checked before it is part of a path: letters, digits, _ and - only, so it cannot leave the folder.
 */
import { RondoError } from '../core/errors.ts'

/** A call of this name is there already. */
const NAME = /^(?!cancel$)[\w-]{1,64}$/
const SUFFIX = '.ndjson.gz'
const SCHEDULED = /^auto-\d{8}T\d{6}Z$/
const SAVED = /^lru-\d{8}T\d{9}Z$/
const PART = /^\.[\w-]{1,64}\.[0-9a-f]{16}\.([\w-]{1,64})\.(\d{1,10})\.part$/

/** Who writes a file. */
export interface Writer {
  readonly host: string
  readonly pid: number
}

/** @throws RondoError BAD_REQUEST */
export function checkName(name: string): string {
  if (NAME.test(name)) return name
  throw new RondoError(
    'BAD_REQUEST',
    'The name of a snapshot has 1 to 64 letters, digits, _ or -, such as before-upgrade, and is not cancel.',
  )
}

/** @throws RondoError BAD_REQUEST */
export function checkNewName(name: string): string {
  if (isSaved(name))
    throw new RondoError(
      'BAD_REQUEST',
      'Names such as this are those of POST /save, which removes them: choose another.',
    )
  if (!name.startsWith('auto-')) return checkName(name)
  throw new RondoError(
    'BAD_REQUEST',
    'Names that begin with auto- are those of the schedule, which removes them (SNAPSHOT_KEEP): choose another.',
  )
}

export function fileOf(name: string): string {
  return `${name}${SUFFIX}`
}

/** Null: it is not the file of a snapshot. */
export function nameOf(file: string): string | null {
  if (!file.endsWith(SUFFIX)) return null
  const name = file.slice(0, -SUFFIX.length)
  return NAME.test(name) ? name : null
}

export function isScheduled(name: string): boolean {
  return SCHEDULED.test(name)
}

export function scheduledName(ms: number): string {
  return `auto-${compactTime(ms)}`
}

/** By POST /save. */
export function isSaved(name: string): boolean {
  return SAVED.test(name)
}

/** Two of the same second differ, and sort by their time. */
export function savedName(ms: number): string {
  return `lru-${new Date(ms).toISOString().replace(/[-:.]/g, '')}`
}

/** For who does not choose one. */
export function defaultName(ms: number): string {
  return `snapshot-${compactTime(ms)}`
}

/** When the schedule has begun it. */
export function scheduledAtMs(name: string): number {
  const [, year, month, day, hour, minute, second] =
    /^auto-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(name) ?? []
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
}

/** @param nonce 16 hexadecimal digits */
export function partOf(name: string, nonce: string, { host, pid }: Writer): string {
  return `.${name}.${nonce}.${hostPart(host)}.${pid}.part`
}

/** Null: it is not such a file. */
export function writerOf(file: string): Writer | null {
  const [, host, pid] = PART.exec(file) ?? []
  return host === undefined ? null : { host, pid: Number(pid) }
}

/** As it stands in the name of a file. */
export function hostPart(host: string): string {
  return host.replace(/[^\w-]/g, '-').slice(0, 64) || '-'
}

function compactTime(ms: number): string {
  return new Date(ms).toISOString().replace(/[-:]|\.\d+/g, '')
}
