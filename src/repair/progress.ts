/**
 * What the nodes know of the data that a change of members moves: how it is to be moved, how far it is, and the report of
 * the last change. Every coordinator can ask and steer; one of them works.
 */
import { z } from 'zod'
import { Note } from './notes.ts'

const count = z.number()

const steering = z.object({
  /** The first epoch of the change that is paused; 0 = none. */
  paused: count,
  /** Keys checked, of all sources together; 0 = no limit. */
  keysPerSecond: count,
})
export type Steering = Readonly<z.infer<typeof steering>>
/** What operators ask for. On all members. */
export const STEERING = new Note<Steering>('rebalance', steering)

const pass = z.object({
  /** The first epoch of the change. */
  since: count,
  startedAtMs: count,
  /** Cluster time of this note. */
  atMs: count,
  isDone: z.boolean(),
  /** Keys of all sources together, and how many of them were checked. */
  expected: count,
  checked: count,
  /** Records sent to the member, and their bytes with their keys. */
  sent: count,
  bytes: count,
  /** Of those that were checked: what the member lacked, and of what it had an older version. */
  missing: count,
  older: count,
})
export type Pass = Readonly<z.infer<typeof pass>>
/** How far a member has received what it gains. On that member. */
export const RECEIVED = new Note<Pass>('received', pass)
/** The same of the second look, at what the former home replicas hold. */
export const VERIFIED = new Note<Pass>('verified', pass)

const report = z.object({
  /** Its first and last epoch. */
  since: count,
  epoch: count,
  /** Cluster time. */
  startedAtMs: count,
  endedAtMs: count,
  /** Keys looked at, in both passes and at all sources. */
  checked: count,
  /** Records sent to the members that gained them, and their bytes with their keys. */
  moved: count,
  bytes: count,
  /** Found in the second pass: keys that a member lacked, or of which it held an older version. They were sent. */
  missing: count,
  divergent: count,
})
export type ChangeReport = Readonly<z.infer<typeof report>>
/** Of the last change that ended. On all members. */
export const REPORT = new Note<ChangeReport>('report', report)

const dropped = z.object({
  id: z.string(),
  atMs: count,
  /** What it was about, in words. */
  what: z.string(),
  why: z.string(),
})
export type DroppedChange = Readonly<z.infer<typeof dropped>>
/** Changes that could not begin after they had waited, or were undone by themselves. On all members, the last one first. */
export const DROPPED = new Note<readonly DroppedChange[]>('dropped', z.array(dropped))

/** Ids of members that have left, the last one first: others may keep hints for them. On all members. */
export const DEPARTED = new Note<readonly string[]>('departed', z.array(z.string()))
