/** Rows of documentation of commands on keys (docs.ts), and how commands access their keys. */
/** By name: since, arguments, key access flags (per key, separated by commas), summary; and differences from its group. */
export type KeyedRows = Readonly<Record<string, readonly [string, string, string, string, Differences?]>>
interface Differences {
  readonly categories?: string
  /** Which keys the others are cannot be told by their places. */
  readonly hasUnknownKeys?: boolean
}
export const LOOK = 'RO access'
export const LOOK_FROM_OUTSIDE = 'RO'
export const OVERWRITE = 'OW update'
export const CREATE = 'OW insert'
export const CHANGE = 'RW access update'
export const CHANGE_UNSEEN = 'RW update'
export const TAKE = 'RW access delete'
export const DELETE = 'RM delete'
/** It adds to what the key holds, or takes from it. */
export const INSERT = 'RW insert'
export const REMOVE = 'RW delete'
