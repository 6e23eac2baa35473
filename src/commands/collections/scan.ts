/**
 * HSCAN, SSCAN and ZSCAN. The first page has the whole collection, as in Redis for a small one: COUNT is only a hint, and a
 * collection here is one value. So nothing is missed that exists meanwhile, and the cursor is always 0.
 */
import { Glob } from '../../core/glob.ts'
import { inOneGo, type Sliced } from '../../core/work.ts'
import { integerArgument, word } from '../arguments.ts'
import type { Reply } from '../reply.ts'
import {
  CommandError,
  refused,
  resultOrError,
  SYNTAX_ERROR,
  WRONG_TYPE,
  type Held,
  type Step,
  type Stepped,
} from '../step.ts'
import type { Entries } from './entries.ts'
import {
  COLLECTION_BYTES_A_UNIT,
  entriesOrRefusal,
  isOf,
  lookAtEntries,
  type CollectionType,
} from './steps.ts'

const MAX_PATTERN_BYTES = 1024
/** Comparisons of a pattern with bytes. */
const STEPS_A_UNIT = 1024
const EMPTY_PAGE: Reply = ['0', []]

/** @param shown what the reply has of these entries */
export function scanStep(
  args: readonly Buffer[],
  type: CollectionType,
  shown: (entries: Entries, chosen: readonly number[]) => Reply,
): Step {
  const key = args[1]!
  if (!/^\d{0,20}$/.test(args[2]!.toString('latin1'))) throw new CommandError('ERR invalid cursor')
  const match = resultOrError(() => patternIn(args))
  const page = (entries: Entries, chosen: readonly number[]): Reply => ['0', shown(entries, chosen)]
  if (match === null) {
    return lookAtEntries(key, type, (entries) =>
      page(
        entries,
        Array.from({ length: entries.length }, (_, i) => i),
      ),
    )
  }
  function* slices([held = null]: readonly (Held | null)[]): Sliced<Stepped> {
    // Redis looks for the key before it looks at the options.
    if (!held) return { reply: EMPTY_PAGE }
    if (!isOf(held, type)) return WRONG_TYPE
    if (match instanceof CommandError) return refused(match.message)
    const found = entriesOrRefusal(held, type)
    return 'reply' in found ? found : { reply: page(found, yield* matching(found, match!)) }
  }
  return {
    needs: 'value',
    keys: [key],
    reads: true,
    writes: false,
    apply: (held) => inOneGo(slices(held)),
    slow: { cost: (held) => costOf(held, match), slices },
  }
}

function costOf([held = null]: readonly (Held | null)[], match: Buffer | CommandError): number {
  const bytes = held?.value.length ?? 0
  const patternBytes = match instanceof CommandError ? 0 : match.length
  return bytes / COLLECTION_BYTES_A_UNIT + (bytes * patternBytes) / STEPS_A_UNIT
}

function* matching(entries: Entries, pattern: Buffer): Sliced<number[]> {
  const glob = new Glob(pattern)
  const places: number[] = []
  let before = 0
  for (let i = 0; i < entries.length; i++) {
    if (glob.matches(entries.key(i))) places.push(i)
    if (i % 64 !== 63) continue
    yield 16 + (glob.steps - before) / STEPS_A_UNIT
    before = glob.steps
  }
  return places
}

/** The pattern of MATCH; null = there is none. @throws CommandError */
function patternIn(args: readonly Buffer[]): Buffer | null {
  let pattern: Buffer | null = null
  for (let at = 3; at < args.length; at += 2) {
    const option = word(args[at]!)
    const value = args[at + 1]
    if (value === undefined || (option !== 'MATCH' && option !== 'COUNT'))
      throw new CommandError(SYNTAX_ERROR)
    if (option === 'MATCH') pattern = value
    else if (integerArgument(value) < 1) throw new CommandError(SYNTAX_ERROR)
  }
  if (pattern && pattern.length > MAX_PATTERN_BYTES) {
    throw new CommandError(`ERR The pattern has more than ${MAX_PATTERN_BYTES} bytes.`)
  }
  return pattern
}
