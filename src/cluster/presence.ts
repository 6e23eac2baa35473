/**
 * Which coordinators there are, and what they see: each leaves a note on every node with its ping, in the hash
 * `__rondo:coordinators`, and reads those of all from one node in each interval. So a ping costs the same however many
 * there are, and nobody needs to be told of the others.
 *
 *   a note of the last 2.5 ping intervals  → alive
 *   of the last 5                          → suspect
 *   older                                  → down; forgotten after ten minutes
 *   the last one of a coordinator          → it has stopped: forgotten at once
 *
 * It is for people: no answer counts or does not count by it. Only the first change of members looks at it, to name
 * coordinators that have other members (membership.ts); what is decided does not depend on that.
 */
import { z } from 'zod'
import type { MonotonicClock } from '../core/clock.ts'
import { isName } from '../core/printable.ts'
import { CHECKED_IN_MS, type CheckedIn } from '../nodes/node.ts'
import { encodeMarker } from './marker.ts'
import type { Member } from './member.ts'

const name = z.string().refine(isName)
const note = z.strictObject({
  /** host:port */
  name: z.string().max(300),
  version: name,
  epoch: z.number().int().min(1),
  pingMs: z.number().positive(),
  /** Of the members, weights and settings that it has. */
  placement: name,
  /** Their ids, as far as they fit. */
  members: z.string().max(600),
  /** By id: what it sees as suspect or down. */
  notUp: z.record(z.string(), z.enum(['suspect', 'down'])),
  stopped: z.boolean(),
})
export type Note = Readonly<z.infer<typeof note>>

export interface CoordinatorSeen {
  readonly id: string
  readonly state: 'alive' | 'suspect' | 'down'
  readonly seenAgoMs: number
  /** This coordinator itself. */
  readonly isSelf: boolean
  readonly note: Note
}

/** How a coordinator is named, to people and in leases. */
export function coordinatorId(number: number): string {
  return number.toString(16).padStart(8, '0')
}

export interface PresenceOptions {
  readonly id: string
  readonly clock: MonotonicClock
  readonly pingIntervalMs: number
  readonly members: () => readonly Member[]
  /** What the others are told. */
  readonly note: () => Omit<Note, 'stopped' | 'pingMs'>
}

const ALIVE_INTERVALS = 2.5
const SUSPECT_INTERVALS = 5
const MAX_NOT_UP = 32
const MAX_MEMBERS_CHARACTERS = 500

interface Seen {
  readonly note: Note
  readonly atMonotonicMs: number
}

export class Presence {
  private readonly options: PresenceOptions
  private readonly seen = new Map<string, Seen>()
  /** They are read when this node is pinged after this time. Null = any. */
  private reader: Member | null = null
  private readAfterMs = -Infinity
  /** They are read from these, whatever the time. */
  private unread = new Set<Member>()
  private stopped = false

  constructor(options: PresenceOptions) {
    this.options = options
  }

  /** From these nodes the notes are read with their next ping. */
  readAgain(members: readonly Member[]): void {
    this.unread = new Set(members)
  }

  /** Once per ping of a node that is in use. */
  async checkIn(member: Member): Promise<void> {
    const { id, clock } = this.options
    const nowMs = clock.monotonicMs()
    const reads = this.unread.delete(member) || this.isItsTurn(member, nowMs)
    if (reads) this.passOn(member, nowMs)
    const bytes = encodeMarker(member.marker!)
    const found = await member.node.checkIn(bytes, id, JSON.stringify(this.own), reads)
    for (const one of found ?? []) this.note(one, clock.monotonicMs())
  }

  private get own(): Note {
    const { note, pingIntervalMs } = this.options
    return { ...note(), pingMs: pingIntervalMs, stopped: this.stopped }
  }

  private isItsTurn(member: Member, nowMs: number): boolean {
    const lateMs = nowMs - this.readAfterMs
    if (lateMs < 0) return false
    const waits = this.reader?.health.state === 'up' && lateMs <= this.options.pingIntervalMs
    return !waits || member === this.reader
  }

  /** Not every coordinator may reach every node, so each node has its turn. */
  private passOn(member: Member, nowMs: number): void {
    const up = this.options.members().filter(({ health }) => health.state === 'up')
    this.reader = up[(up.indexOf(member) + 1) % up.length] ?? null
    this.readAfterMs = nowMs + this.options.pingIntervalMs / 2
  }

  /**
   * Asks a member that is not in use yet.
   *
   * @returns a sentence that names another coordinator that is there and does not have these members; null = none
   */
  async contradiction({ node, report }: Member, placement: string): Promise<string | null> {
    const { id, clock } = this.options
    const found = await node.checkIn(report!.marker!, id, JSON.stringify(this.own), true)
    for (const one of found ?? []) this.note(one, clock.monotonicMs())
    const other = this.coordinators.find((one) => isOther(one) && one.note.placement !== placement)
    return other ? `coordinator ${other.note.name} has other nodes than the cluster was founded with` : null
  }

  /** Tells the others that this coordinator is not there any more; whoever is not reached sees it later. */
  async stop(members: readonly Member[]): Promise<void> {
    this.stopped = true
    await Promise.all(members.map((member) => this.checkIn(member).catch(() => undefined)))
  }

  private note({ id, agoMs, text }: CheckedIn, nowMs: number): void {
    const found = parseNote(text)
    const atMonotonicMs = nowMs - agoMs
    const before = this.seen.get(id)
    if (!found || (before && before.atMonotonicMs >= atMonotonicMs)) return
    this.seen.set(id, { note: found, atMonotonicMs })
  }

  /** Sorted by name. */
  get coordinators(): readonly CoordinatorSeen[] {
    const nowMs = this.options.clock.monotonicMs()
    this.seen.set(this.options.id, { note: this.own, atMonotonicMs: nowMs })
    const all: CoordinatorSeen[] = []
    for (const [id, { note, atMonotonicMs }] of this.seen) {
      const seenAgoMs = Math.max(0, nowMs - atMonotonicMs)
      if (seenAgoMs > CHECKED_IN_MS) this.seen.delete(id)
      else if (!note.stopped) {
        const intervals = seenAgoMs / note.pingMs
        const state =
          intervals <= ALIVE_INTERVALS ? 'alive' : intervals <= SUSPECT_INTERVALS ? 'suspect' : 'down'
        all.push({ id, state, seenAgoMs, isSelf: id === this.options.id, note })
      }
    }
    return all.sort((a, b) => (a.note.name + a.id < b.note.name + b.id ? -1 : 1))
  }

  /** Others that are there and have other members, weights or settings in the first epoch: a sentence, or null. */
  get disagreement(): string | null {
    const ours = this.options.note()
    const other = this.coordinators.find((one) => isOther(one) && one.note.placement !== ours.placement)
    if (!other) return null
    const { name: who, members } = other.note
    return `coordinator ${who} has other nodes, weights or settings than this one (there ${members}; here ${ours.members}; seen ${Math.round(other.seenAgoMs / 1000)} s ago)`
  }
}

/** It is there, and not this one, and in the first epoch. */
function isOther({ state, isSelf, note }: CoordinatorSeen): boolean {
  return !isSelf && state !== 'down' && note.epoch === 1
}

/** Ids for a note. */
export function namesOf(ids: readonly string[]): string {
  const all = ids.join(', ')
  return all.length <= MAX_MEMBERS_CHARACTERS
    ? all
    : `${all.slice(0, MAX_MEMBERS_CHARACTERS)}… (${ids.length})`
}

/** What a coordinator sees as suspect or down, for a note. */
export function notUpOf(members: readonly Member[]): Note['notUp'] {
  const found = members.flatMap(({ id, health: { state } }) => (state === 'up' ? [] : [[id, state] as const]))
  return Object.fromEntries(found.slice(0, MAX_NOT_UP))
}

/** Null for what no coordinator of this release wrote. */
function parseNote(text: string): Note | null {
  try {
    return note.safeParse(JSON.parse(text)).data ?? null
  } catch {
    return null // of another release, or damaged: it is not shown
  }
}
