/** The keys of the leaves that differ, with the heads that each home replica holds. */
import type { Member } from '../../cluster/member.ts'
import { VERSION_BYTES } from '../../core/clock.ts'
import { StoredRecord } from '../../core/codec.ts'
import { leafOf } from '../../core/merkle.ts'
import { tokenOf } from '../../core/token.ts'
import { isOurs, type RoundContext } from './context.ts'
import type { Leaf } from './digests.ts'
import type { Participant } from './participants.ts'

export interface DifferingKey {
  readonly key: Buffer
  readonly homes: readonly Member[]
}

interface ListedKey {
  readonly homes: readonly Member[]
  /** The heads found by the scan, in the order of the home replicas; undefined = none. */
  readonly heads: (string | undefined)[]
  young: boolean
}

const LIVE = 'L'
const DEAD = 'D'
/** `headText` of a value that Rondo did not write: older than everything. */
const NOT_OURS = '\0'.repeat(VERSION_BYTES) + DEAD
/** Keys compared in one turn of the event loop. */
const COMPARED_AT_ONCE = 1000

/** Splits the leaves into portions of about as many keys as may be listed at once. */
export function portionsOf(leaves: readonly Leaf[], keysAtOnce: number): Leaf[][] {
  const portions: Leaf[][] = []
  let keys = Infinity
  for (const leaf of leaves) {
    if (keys + leaf.keys > keysAtOnce) {
      portions.push([])
      keys = 0
    }
    portions.at(-1)!.push(leaf)
    keys += leaf.keys
  }
  return portions
}

export class Listing {
  private readonly round: RoundContext
  /** By the key as latin1. Strings, because a Buffer would retain its whole reply. */
  private readonly keys = new Map<string, ListedKey>()
  /** By the index of the range: 1 for each leaf that is listed. */
  private readonly wanted = new Map<number, Uint8Array>()

  constructor(round: RoundContext, portion: readonly Leaf[]) {
    this.round = round
    for (const { index, leaf } of portion) {
      const marks = this.wanted.get(index) ?? new Uint8Array(round.leaves)
      marks[leaf] = 1
      this.wanted.set(index, marks)
    }
  }

  /** Adds a key that the scan found. */
  add(participant: Participant, key: Buffer, head: Buffer): void {
    const { placement, ranges, leaves, startedAtMs } = this.round
    const token = tokenOf(key)
    const index = placement.rangeIndexAt(token)
    const { range, homes } = ranges[index]!
    if (this.wanted.get(index)?.[leafOf(token, range, leaves)] !== 1) return
    const place = homes.indexOf(participant.member)
    if (place < 0) return
    const record = new StoredRecord(head)
    const listed = this.listedOf(key, homes)
    listed.heads[place] = headText(record, startedAtMs)
    if (this.round.isYoung(record.version)) listed.young = true
  }

  /** The keys whose heads show that a replica needs a copy. */
  async differing(): Promise<DifferingKey[]> {
    let looked = 0
    const differing: DifferingKey[] = []
    for (const [name, { heads, homes, young }] of this.keys) {
      if (++looked % COMPARED_AT_ONCE === 0) await this.round.pace.spend(0)
      if (!young && this.differs(homes, heads)) differing.push({ key: Buffer.from(name, 'latin1'), homes })
    }
    return differing
  }

  private differs(homes: readonly Member[], heads: readonly (string | undefined)[]): boolean {
    const { participants } = this.round
    let newest = NOT_OURS
    for (const [i, home] of homes.entries()) {
      const head = heads[i]
      if (head !== undefined && head > newest && participants.of(home)) newest = head
    }
    if (newest === NOT_OURS) return false
    const newestLives = newest.endsWith(LIVE)
    return homes.some((home, i) => {
      const participant = participants.of(home)
      if (!participant) return false
      return needs(participant, { lacks: heads[i] === undefined, older: heads[i] !== newest, newestLives })
    })
  }

  private listedOf(key: Buffer, homes: readonly Member[]): ListedKey {
    const name = key.toString('latin1')
    let listed = this.keys.get(name)
    if (!listed) {
      listed = { homes, heads: new Array<string | undefined>(homes.length).fill(undefined), young: false }
      this.keys.set(name, listed)
    }
    return listed
  }
}

/** A version, one character per byte, so that `<` compares versions; then whether it is live. */
function headText(record: StoredRecord, atMs: number): string {
  if (!isOurs(record)) return NOT_OURS
  const { version } = record
  const text = Buffer.from(version.buffer, version.byteOffset, version.byteLength).toString('latin1')
  return text + (record.isLive(atMs) ? LIVE : DEAD)
}

/** Whether a home replica should be sent the newest record. */
export function needs(
  participant: Participant,
  found: {
    readonly lacks: boolean
    readonly older: boolean
    readonly newestLives: boolean
    readonly fromFallback?: boolean
  },
): boolean {
  if (!found.lacks) return found.older
  // A fallback replica's copy is a missed write, not an evicted one.
  return found.newestLives && (found.fromFallback === true || !participant.evicts)
}
