/**
 * Collections that another program stored on the node: hashes, sets, sorted sets, lists and streams of Redis.
 *
 *   read     WRONGTYPE ──▶ foreign.lua: type and DUMP ──▶ a record at version zero, as of a string that Rondo did not
 *            write. On the node nothing changes.
 *   write    store.lua and store-all.lua take the key for one that holds nothing of Rondo's, and replace it.
 *   promise  needs a record to stand in: foreign.lua replaces the collection by the record of the same content, if it is
 *            still the one that was read, and the key keeps its end. Then prepare.lua runs again. Who stops in between has
 *            changed nothing that a client of Rondo can see.
 *
 * Of a head nothing but the type is asked. What DUMP returns is read by a function that is passed in: the forms of Redis
 * are known to the commands, above this layer. What is too large for one call, or cannot be read, is refused; a store
 * replaces it nevertheless.
 */
import { createHash } from 'node:crypto'
import {
  foreignRecord,
  KIND_HASH,
  KIND_LIST,
  KIND_SET,
  KIND_SORTED_SET,
  KIND_STREAM,
} from '../../core/codec.ts'
import { VERSION_ZERO } from '../../core/clock.ts'
import { isInternal } from '../../core/keys.ts'
import { isPartKey } from '../../core/part-keys.ts'
import { WRONG_TYPE } from '../failures.ts'
import type { Fence, NodeFailure } from '../node.ts'
import { REPLY_BULK, REPLY_NIL, REPLY_TOO_LONG, type Link } from './link.ts'
import { PendingScript, type CallHost, type ForeignDone } from './redis-calls.ts'
import { FOREIGN, headsOf } from './scripts.ts'

/** What the node reads, and this process turns into a record, in one piece. */
export const MAX_FOREIGN_ELEMENTS = 16_384
export const MAX_FOREIGN_BYTES = 1024 * 1024

const FOREIGN_HEADS = headsOf(FOREIGN, 5)
const NO_BYTES = Buffer.alloc(0)
const YES = Buffer.from('1')
const MOST_ELEMENTS = Buffer.from(String(MAX_FOREIGN_ELEMENTS))
const MOST_BYTES = Buffer.from(String(MAX_FOREIGN_BYTES))
/** Somebody else changes it all the time. */
const MOST_TRIES = 8

const STRING = 'S'
const REPLACED = 'R'
const TOO_LARGE = 'L'
const OTHER = 'M'
const FORBIDDEN = /^F([A-Z]+(?: [A-Z]+)?)$/
const LONGEST_REFUSAL = 20
const KINDS = new Map([
  ['h', KIND_HASH],
  ['s', KIND_SET],
  ['z', KIND_SORTED_SET],
  ['l', KIND_LIST],
  ['x', KIND_STREAM],
])

/** Not of keys that clients cannot name. */
function isReadable({ readDump }: CallHost, key: Buffer): boolean {
  return readDump !== null && !isInternal(key) && !isPartKey(key)
}

/** Reads the collection, or its type alone. */
export function lookAtForeign(
  node: CallHost,
  key: Buffer,
  part: 'head' | 'whole',
  fence: Fence,
  done: ForeignDone,
): void {
  if (!isReadable(node, key)) done.onFailure(node, WRONG_TYPE)
  else if (fence.floors?.isBelow(key, VERSION_ZERO)) done.onFound(null, fence)
  else node.send(new PendingForeign(node, key, part, done), done)
}

/** Replaces the collection by a record that can hold a promise. */
export function adoptForeign(node: CallHost, key: Buffer, done: ForeignDone): void {
  if (isReadable(node, key))
    node.send(new PendingForeign(node, key, 'whole', done, { left: MOST_TRIES }), done)
  else done.onFailure(node, WRONG_TYPE)
}

/** What is to be replaced, once it is known, and how many tries are left. */
interface Adoption {
  readonly left: number
  readonly sha?: Buffer
  readonly record?: Buffer
}

class PendingForeign extends PendingScript {
  readonly heads = FOREIGN_HEADS
  protected readonly call: ForeignDone
  private readonly part: 'head' | 'whole'
  private readonly adoption: Adoption | null

  constructor(
    node: CallHost,
    key: Buffer,
    part: 'head' | 'whole',
    done: ForeignDone,
    adoption: Adoption | null = null,
  ) {
    super(node, key, adoption?.record?.length ?? 0)
    this.part = part
    this.call = done
    this.adoption = adoption
  }

  override encode(link: Link): void {
    link.bulk(this.key)
    link.bulk(this.part === 'whole' ? YES : NO_BYTES)
    link.bulk(MOST_ELEMENTS)
    link.bulk(MOST_BYTES)
    link.bulk(this.adoption?.sha ?? NO_BYTES)
    link.bulk(this.adoption?.record ?? NO_BYTES)
  }

  protected override replied(fence: Fence): boolean {
    const { call, replyType, reply } = this
    if (replyType === REPLY_NIL) call.onFound(null, fence)
    else if (replyType === REPLY_TOO_LONG) this.lost(TOO_LARGE_TO_READ)
    else return replyType === REPLY_BULK && this.looked(reply!, fence)
    return true
  }

  private looked(reply: Buffer, fence: Fence): boolean {
    const kind = KINDS.get(reply.toString('latin1', 0, 1))
    if (kind !== undefined && this.part === 'whole') this.read(reply.subarray(1), kind, fence)
    else if (kind !== undefined && reply.length === 1) this.call.onFound(foreignRecord(kind), fence)
    else return this.isTold(reply.toString('latin1', 0, LONGEST_REFUSAL))
    return true
  }

  private isTold(found: string): boolean {
    const [, forbidden] = FORBIDDEN.exec(found) ?? []
    if (found === STRING || (found === REPLACED && this.adoption?.sha)) this.call.onString()
    else if (found === TOO_LARGE) this.lost(TOO_LARGE_TO_READ)
    else if (found === OTHER) this.lost(WRONG_TYPE)
    else if (forbidden !== undefined) this.lost(refusal(`${OF_ANOTHER}, and the node forbids ${forbidden}`))
    else return false
    return true
  }

  private read(dump: Buffer, kind: number, fence: Fence): void {
    const { node, adoption } = this
    node.readDump!(dump, (read) => {
      if (read?.kind !== kind) this.lost(NOT_READABLE)
      else if (read.value.length > node.maxValueBytes) this.lost(TOO_LARGE_TO_READ)
      else if (adoption) this.replace(dump, foreignRecord(kind, read.value), adoption.left)
      else this.call.onFound(foreignRecord(kind, read.value), fence)
    })
  }

  private replace(dump: Buffer, record: Buffer, left: number): void {
    const { node, key, call } = this
    if (left === 0) {
      this.lost(NEVER_THE_SAME)
      return
    }
    const sha = Buffer.from(createHash('sha1').update(dump).digest('hex'))
    node.send(new PendingForeign(node, key, 'whole', call, { left: left - 1, sha, record }), call)
  }
}

function refusal(message: string): NodeFailure {
  return { ...WRONG_TYPE, message }
}

const OF_ANOTHER = 'the key holds a collection of another program'
const TOO_LARGE_TO_READ = refusal(
  `${OF_ANOTHER} with more than ${MAX_FOREIGN_ELEMENTS} elements, ${MAX_FOREIGN_BYTES} bytes or MAX_VALUE_BYTES`,
)
const NOT_READABLE = refusal(`${OF_ANOTHER} that cannot be read`)
const NEVER_THE_SAME = refusal(`${OF_ANOTHER} that changes all the time`)
