/**
 * HSCAN, SSCAN and ZSCAN. The first page has the whole of a flat collection, as in Redis for a small one: so nothing is missed
 * that exists meanwhile, and the cursor is 0.
 *
 * A large one is told in the order of the hashes of its keys, about COUNT of them at a time: what is there all the time is
 * told, however its parts are cut meanwhile. The cursor says where the next page begins, and of which collection it is:
 *
 *   32 bits   mark of the generation
 *   32 bits   hash; never 0
 *
 * If the generation is another one by then, the scan begins again.
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
import { LargeCollection } from './large/collection.ts'
import {
  COLLECTION_BYTES_A_UNIT,
  collectionOrRefusal,
  isOf,
  undamaged,
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
  const options = resultOrError(() => optionsIn(args))
  const cursor = BigInt(args[2]!.toString('latin1'))
  function* slices([held = null]: readonly (Held | null)[]): Sliced<Stepped> {
    // Redis looks for the key before it looks at the options.
    if (!held) return { reply: EMPTY_PAGE }
    if (!isOf(held, type)) return WRONG_TYPE
    if (options instanceof CommandError) return refused(options.message)
    const { count, match } = options
    const found = undamaged(() => pageOf(held, type, cursor, count))
    if ('reply' in found) return found
    const { entries, next } = found
    return { reply: [next, shown(entries, match ? yield* matching(entries, match) : all(entries))] }
  }
  return {
    needs: 'value',
    keys: [key],
    reads: true,
    writes: false,
    apply: (held) => inOneGo(slices(held)),
    slow: { cost: (held) => costOf(held, options), slices },
  }
}

const all = ({ length }: Entries): number[] => Array.from({ length }, (_, i) => i)

/** The entries of this page, and the cursor of the next one. */
function pageOf(
  held: Held,
  type: CollectionType,
  cursor: bigint,
  count: number,
): { readonly entries: Entries; readonly next: string } | Stepped {
  const collection = collectionOrRefusal(held, type)
  if ('reply' in collection) return collection
  if (!(collection instanceof LargeCollection)) return { entries: collection.flat(), next: '0' }
  const mark = BigInt(collection.mark)
  const from = cursor >> 32n === mark ? Number(cursor & 0xffff_ffffn) : 0
  const page = collection.page(from, count)
  return { entries: page.entries, next: page.next === null ? '0' : String((mark << 32n) | BigInt(page.next)) }
}

/** Of a large collection the root is about as long as a part. */
function costOf([held = null]: readonly (Held | null)[], options: Options | CommandError): number {
  const bytes = held?.value.length ?? 0
  const patternBytes = options instanceof CommandError ? 0 : (options.match?.length ?? 0)
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

interface Options {
  /** Null = everything. */
  readonly match: Buffer | null
  readonly count: number
}

const DEFAULT_COUNT = 10

/** @throws CommandError */
function optionsIn(args: readonly Buffer[]): Options {
  let match: Buffer | null = null
  let count = DEFAULT_COUNT
  for (let at = 3; at < args.length; at += 2) {
    const option = word(args[at]!)
    const value = args[at + 1]
    if (value === undefined || (option !== 'MATCH' && option !== 'COUNT'))
      throw new CommandError(SYNTAX_ERROR)
    if (option === 'MATCH') match = value
    else if ((count = Number(integerArgument(value))) < 1) throw new CommandError(SYNTAX_ERROR)
  }
  if (match && match.length > MAX_PATTERN_BYTES) {
    throw new CommandError(`ERR The pattern has more than ${MAX_PATTERN_BYTES} bytes.`)
  }
  return { match, count }
}
