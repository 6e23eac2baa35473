/**
 * The conditions of SET, DELEX and DELIFEQ on the value that a key holds, as in Redis 8.4 and Valkey 9: IFEQ, IFNE, and,
 * with the digest of the value in place of the value, IFDEQ and IFDNE. They need no number that the client would have to
 * read first, so a lock needs no script:
 *
 *   SET lock token NX PX 30000        take it
 *   SET lock token IFEQ token PX 30000    keep it for longer
 *   DELEX lock IFEQ token             give it back
 *
 * A key that does not exist equals nothing: IFEQ and IFDEQ fail, IFNE and IFDNE are met.
 */
import { word } from '../arguments.ts'
import {
  change,
  CommandError,
  look,
  refused,
  type Held,
  type Step,
  type StepLimits,
  type Stepped,
} from '../step.ts'
import { DIGEST_DIGITS, digestOf } from './digest.ts'

/** What a key must hold, or must not. */
export interface Comparison {
  readonly option: ComparisonOption
  /** A value or a digest. */
  readonly operand: Buffer
}

export type ComparisonOption = 'IFEQ' | 'IFNE' | 'IFDEQ' | 'IFDNE'

const OPTIONS: ReadonlySet<string> = new Set<ComparisonOption>(['IFEQ', 'IFNE', 'IFDEQ', 'IFDNE'])
const BAD_DIGEST = `ERR must be exactly ${DIGEST_DIGITS} hexadecimal characters`
const BAD_CONDITION = 'ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE'

/** @param name in capitals */
export function isComparisonOption(name: string): name is ComparisonOption {
  return OPTIONS.has(name)
}

/**
 * Why this comparison is impossible, or null. Redis checks no more than the length of a digest, and that only when there
 * is a value to compare with.
 */
export function badComparison({ option, operand }: Comparison): string | null {
  return byDigest(option) && operand.length !== DIGEST_DIGITS ? BAD_DIGEST : null
}

/** Whether the condition is met by what the key holds. */
export function isMet({ option, operand }: Comparison, held: Held | null): boolean {
  const wantsEqual = option === 'IFEQ' || option === 'IFDEQ'
  if (!held) return !wantsEqual
  const isEqual = byDigest(option)
    ? digestOf(held.value) === operand.toString('latin1').toLowerCase()
    : held.value.equals(operand)
  return isEqual === wantsEqual
}

function byDigest(option: ComparisonOption): boolean {
  return option === 'IFDEQ' || option === 'IFDNE'
}

// ---- commands

export function digest(args: readonly Buffer[]): Step {
  return look(args[1]!, (held) => held && digestOf(held.value))
}

export function delex(args: readonly Buffer[], _nowMs: number, limits: StepLimits): Step {
  if (args.length !== 2 && args.length !== 4) {
    throw new CommandError("ERR wrong number of arguments for 'delex' command")
  }
  const [, key, option, operand] = args as [Buffer, Buffer, Buffer?, Buffer?]
  if (!option) {
    const apply = ([seen = null]: readonly (object | null)[]) => (seen ? DELETED : GONE_BEFORE)
    return { needs: 'head', keys: [key], reads: true, writes: true, leavesAbsent: !limits.loads, apply }
  }
  const name = word(option)
  return change(key, (held) => {
    // Redis looks for the key before it looks at the condition.
    if (!held) return KEPT
    if (!isComparisonOption(name)) return refused(BAD_CONDITION)
    return deleteIf({ option: name, operand: operand! }, held)
  })
}

/** Valkey's name of DELEX with IFEQ. */
export function delifeq(args: readonly Buffer[]): Step {
  return change(args[1]!, (held) => (held ? deleteIf({ option: 'IFEQ', operand: args[2]! }, held) : KEPT))
}

const KEPT: Stepped = { reply: 0 }
const DELETED: Stepped = { reply: 1, next: [null] }
const GONE_BEFORE: Stepped = { reply: 0, next: [null] }

function deleteIf(comparison: Comparison, held: Held): Stepped {
  const bad = badComparison(comparison)
  if (bad !== null) return refused(bad)
  return isMet(comparison, held) ? DELETED : KEPT
}
