/**
 * Changes of members that wait until the one that is under way has ended. They lie in the register beside the topology
 * (cluster/register.ts), and are no part of it: what waits changes no epoch. Pure.
 */
import { z } from 'zod'
import { isName } from './printable.ts'

const name = z.string().refine(isName)
const url = name.nullable()
const weight = z.number().positive()

const change = z.strictObject({
  kind: z.literal('change'),
  join: z.array(z.strictObject({ id: name, url, weight, zone: name.nullable() })),
  /** Those that join are emptied; otherwise they must be empty. */
  dropData: z.boolean(),
  /** Ids. */
  leave: z.array(name),
  /** Members that leave may be gone with the last copies of keys. */
  acceptLoss: z.boolean(),
  /** By id. */
  weights: z.array(z.tuple([name, weight])),
  zones: z.array(z.tuple([name, name.nullable()])),
  /** The new N; null = as it is. */
  replicas: z.number().int().nullable(),
})
const replace = z.strictObject({ kind: z.literal('replace'), id: name, url: name, dropData: z.boolean() })
const move = z.strictObject({ kind: z.literal('move'), id: name, url: name })

export const QUEUED = z.strictObject({
  id: name,
  /** Cluster time. */
  askedAtMs: z.number(),
  asked: z.discriminatedUnion('kind', [change, replace, move]),
})
export type Queued = Readonly<z.infer<typeof QUEUED>>
export type Asked = Queued['asked']
export type AskedChange = Readonly<z.infer<typeof change>>

/** As people see it: only what it is about. */
export interface QueuedView {
  readonly id: string
  readonly askedAgoSeconds: number
  readonly [what: string]: unknown
}

export function viewOfQueued({ id, askedAtMs, asked }: Queued, nowMs: number): QueuedView {
  return { id, askedAgoSeconds: Math.max(0, Math.round((nowMs - askedAtMs) / 1000)), ...whatOf(asked) }
}

function whatOf(asked: Asked): Record<string, unknown> {
  if (asked.kind !== 'change') return { [asked.kind]: asked.id, url: asked.url }
  const { join, leave, weights, zones, replicas } = asked
  return {
    ...(join.length > 0 && { join: join.map(({ id }) => id) }),
    ...(leave.length > 0 && { leave }),
    ...(weights.length > 0 && { weights: Object.fromEntries(weights) }),
    ...(zones.length > 0 && { zones: Object.fromEntries(zones) }),
    ...(replicas !== null && { replicas }),
  }
}

/** In words, for a line in the log. */
export function sentenceOfQueued({ id, asked }: Queued): string {
  const what = Object.entries(whatOf(asked)).map(([name, value]) => `${name} ${JSON.stringify(value)}`)
  return `${id} (${what.join(', ')})`
}
