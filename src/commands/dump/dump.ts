/**
 * DUMP and RESTORE: a value as Redis writes it into RDB files, followed by the version of that format and a checksum. A
 * DUMP of Rondo can be restored in Redis, and the other way round (read.ts has what is left out).
 *
 * Payloads may be made by anybody: the checksum protects from accidents only.
 */
import { inOneGo, type Sliced } from '../../core/work.ts'
import { integerArgument, word } from '../arguments.ts'
import { DamagedCollection } from '../collections/entries.ts'
import { isRefusal, storedAs } from '../collections/steps.ts'
import { anyEndArgument, MILLISECONDS, MILLISECONDS_AT } from '../keys/ends.ts'
import { OK, type Reply } from '../reply.ts'
import {
  changeSlowly,
  CommandError,
  defaultEnd,
  lookSlowly,
  Refusal,
  refused,
  resultOrError,
  SYNTAX_ERROR,
  type Held,
  type Seen,
  type Step,
  type StepLimits,
  type StepMaker,
  type Stepped,
} from '../step.ts'
import { storedAs as storedStream } from '../streams/steps.ts'
import { NewStream } from '../streams/stored.ts'
import { CRC64_BYTES, Crc64 } from './crc64.ts'
import { BadData, TooMuchData } from './input.ts'
import { readValue, type Restored } from './read.ts'
import { versionOf, writeValue } from './write.ts'

/** Of Redis 8. Later ones may have other forms. */
const LATEST_VERSION = 12
const VERSION_BYTES = 2
const FOOTER_BYTES = VERSION_BYTES + CRC64_BYTES

const PIECE_BYTES = 64 * 1024
const UNITS_A_PIECE = 64
/** Payloads of fewer bytes are read at once. */
const SHORT_BYTES = 16 * 1024

const BUSY_KEY = refused('BUSYKEY Target key name already exists.', 'PRECONDITION_FAILED')
const WRONG_PAYLOAD = refused('ERR DUMP payload version or checksum are wrong')
const BAD_DATA = refused('ERR Bad data format')

export function dump(args: readonly Buffer[]): Step {
  return lookSlowly([args[1]!], costOf, function* ([held = null]): Sliced<Reply> {
    if (!held) return null
    try {
      const version = Buffer.alloc(VERSION_BYTES)
      version.writeUInt16LE(versionOf(held))
      const bytes = Buffer.concat([...(yield* writeValue(held)), version])
      return Buffer.concat([bytes, yield* checksumOf(bytes)])
    } catch (error) {
      if (error instanceof DamagedCollection)
        return new Refusal('ERR the stored collection is damaged', 'INTERNAL')
      throw error
    }
  })
}

function costOf([held = null]: readonly (Held | null)[]): number {
  return costOfBytes(held?.value.length ?? 0)
}

function costOfBytes(bytes: number): number {
  return (bytes / PIECE_BYTES) * UNITS_A_PIECE
}

export function* checksumOf(bytes: Buffer): Sliced<Buffer> {
  const crc = new Crc64()
  for (let from = 0; from < bytes.length; from += PIECE_BYTES) {
    crc.add(bytes.subarray(from, from + PIECE_BYTES))
    yield UNITS_A_PIECE
  }
  return crc.bytes()
}

interface RestoreOptions {
  readonly replaces: boolean
  readonly isAbsolute: boolean
}

export const restore: StepMaker = (args, nowMs, limits): Step => {
  const [, key, ttl, payload] = args as [Buffer, Buffer, Buffer, Buffer]
  const options = optionsOf(args)
  function* slices(there: Seen | null, applyMs: number): Sliced<Stepped> {
    if (there && !options.replaces) return BUSY_KEY
    const endMs = resultOrError(() => endOf(ttl, options, nowMs))
    if (endMs instanceof CommandError) return refused(endMs.message)
    const restored = yield* restoredFrom(payload, endMs === 0 ? defaultEnd(limits, nowMs) : endMs, limits)
    if ('reply' in restored) return restored
    if (restored.expiresAtMs === 0 || restored.expiresAtMs > applyMs) return { reply: OK, next: [restored] }
    return there ? { reply: OK, next: [null] } : { reply: OK }
  }
  if (payload.length > SHORT_BYTES) {
    return changeSlowly(
      [key],
      () => costOfBytes(payload.length),
      ([there = null], applyMs) => slices(there, applyMs),
    )
  }
  return {
    needs: 'head',
    keys: [key],
    reads: true,
    writes: true,
    apply: ([there = null], applyMs) => inOneGo(slices(there, applyMs)),
  }
}

/** @throws CommandError */
function optionsOf(args: readonly Buffer[]): RestoreOptions {
  const given = new Set<string>()
  for (let at = 4; at < args.length; at++) {
    const option = word(args[at]!)
    const value = args[at + 1]
    given.add(option)
    if (option === 'REPLACE' || option === 'ABSTTL') continue
    if (value === undefined) throw new CommandError(SYNTAX_ERROR)
    // How long ago, or how often, it was used: the nodes count that themselves.
    if (option === 'IDLETIME' && !given.has('FREQ')) {
      if (integerArgument(value) < 0) throw new CommandError('ERR Invalid IDLETIME value, must be >= 0')
    } else if (option === 'FREQ' && !given.has('IDLETIME')) {
      const count = integerArgument(value)
      if (count < 0 || count > 255) throw new CommandError('ERR Invalid FREQ value, must be >= 0 and <= 255')
    } else throw new CommandError(SYNTAX_ERROR)
    at++
  }
  return { replaces: given.has('REPLACE'), isAbsolute: given.has('ABSTTL') }
}

/** 0 = never. Redis looks at it after it has looked for the key. @throws CommandError */
function endOf(ttl: Buffer, { isAbsolute }: RestoreOptions, nowMs: number): number {
  const given = integerArgument(ttl)
  if (given < 0) throw new CommandError('ERR Invalid TTL value, must be >= 0')
  if (given === 0) return 0
  return anyEndArgument(ttl, isAbsolute ? MILLISECONDS_AT : MILLISECONDS, nowMs, 'restore')
}

function bytesOf(value: Restored): number {
  if (value instanceof NewStream) return value.entryBytes + value.groupBytes + value.pendingBytes
  return Buffer.isBuffer(value) ? value.length : value.entries.bytes
}

/** @returns what the payload holds, or the refusal */
export function* restoredFrom(
  payload: Buffer,
  expiresAtMs: number,
  limits: Pick<StepLimits, 'maxValueBytes' | 'random'>,
): Sliced<Held | Stepped> {
  const versionAt = payload.length - FOOTER_BYTES
  if (versionAt < 0) return WRONG_PAYLOAD
  const checkedTo = versionAt + VERSION_BYTES
  const version = payload.readUInt16LE(versionAt)
  const checksum = yield* checksumOf(payload.subarray(0, checkedTo))
  if (version > LATEST_VERSION || !checksum.equals(payload.subarray(checkedTo))) return WRONG_PAYLOAD
  try {
    const value = yield* readValue(payload.subarray(0, versionAt), limits)
    // Compressed, it may be much more than the payload.
    yield costOfBytes(payload.length + bytesOf(value))
    if (Buffer.isBuffer(value)) return { value, expiresAtMs }
    if (value instanceof NewStream) return storedStream(value, null, expiresAtMs)
    const stored = storedAs(value.type, value.entries, expiresAtMs)
    return isRefusal(stored) ? stored : stored!
  } catch (error) {
    if (error instanceof BadData) return BAD_DATA
    if (error instanceof TooMuchData) return refused(`ERR ${error.message}`, 'VALUE_TOO_LARGE')
    throw error
  }
}
