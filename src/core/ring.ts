/**
 * The ring: decides which nodes hold a key, and their order.
 *
 *               0 = 2³²
 *             B ─┴─ A                     Every node has many vnodes, each at a uint32 token.
 *           C         C                   A key belongs to the first vnode at or after its own token, clockwise.
 *          A           B ← key            Walking on clockwise and skipping nodes seen before gives the
 *           B         A                   preference list of this key: B, A, C.
 *             C ─────┘
 *
 * With zones (racks, data centres) the list takes the nearest node of each zone first, then the others in the order of
 * the walk, so that the first N replicas are spread over as many zones as possible. A node without a zone is its own
 * zone.
 *
 * Invariants:
 * - The same nodes (id, weight, zone) make the same ring, in whatever order they are given: if two vnodes have the same
 *   token, the one with the smaller node id comes first.
 * - A preference list contains each node once. It walks nodes, not vnodes: taking the next vnodes would put the copies
 *   of most keys on fewer machines than required.
 * - Adding a node moves keys only to it, removing one moves only its keys.
 * - A ring never changes; `add` and `remove` make a new one.
 *
 * Performance: the tokens are sorted in one Uint32Array, and the first eight nodes from each are precomputed when the
 * ring is made (workOutLists, below). Vnodes with the same list share one array: four nodes have at most 24. A lookup
 * finds its start by the token's first bits, advances by less than one vnode on average, and allocates nothing. Nodes
 * beyond the eighth are found by walking, on demand.
 *
 * Not guaranteed: equal shares (with 100 vnodes a node's share is off by about a tenth, as 1/√vnodes). Health never
 * affects placement.
 *
 * Source: Karger et al., "Consistent Hashing and Random Trees", STOC 1997; the walk over distinct nodes is the
 * preference list of Amazon's Dynamo (SOSP 2007).
 */
import { fingerprint, tokenOf, vnodeToken } from './token.ts'

/** What the ring needs of a node. Read when a ring is made; later changes affect only the next ring. */
export interface RingNode {
  /** Its stable name, not empty, unique on the ring. The tokens depend on this alone. */
  readonly id: string
  /** Its share of keys relative to other nodes: finite, above 0. Default 1. */
  readonly weight?: number | undefined
  /** Its failure domain. None or an empty one: its own zone. */
  readonly zone?: string | undefined
}

/** What decides how many vnodes a node has, and which copies it takes. */
export type RingShape = Pick<RingNode, 'weight' | 'zone'>

export interface RingOptions<T extends RingNode = RingNode> {
  /** Vnodes of a node of weight 1, an integer. Default 100, which 0 and less mean too. */
  readonly vnodesPerNode?: number
  /** The same node may have another weight or zone on another ring; by default its own. */
  readonly shapeOf?: ((node: T) => RingShape) | undefined
}

/** A range of the ring: the tokens after `start` up to and including `end`, wrapping at 2³² if `start` >= `end`. */
export interface TokenRange {
  readonly start: number
  readonly end: number
}

const TOKENS = 2 ** 32

/** Its part of all tokens. */
export function partOf({ start, end }: TokenRange): number {
  return ((end - start + TOKENS) % TOKENS || TOKENS) / TOKENS
}

/** A vnode: one position of a node on the ring. */
export interface Vnode<T extends RingNode> {
  readonly token: number
  readonly node: T
}

/** Limit of nodes in `preferenceList`. */
export const LISTED_NODES = 8

interface Shapes<T> {
  of(node: T): RingShape
}

const DEFAULT_VNODES = 100
// token × nodes + node has to stay an exact number below 2^53: 32 bits for the token leave 21.
const MAX_VNODES = 2 ** 21

export class Ring<T extends RingNode = RingNode> {
  /** All nodes, sorted by id (by UTF-16 code unit, as `<` does): the very objects that the ring was made of. */
  readonly nodes: readonly T[]
  readonly vnodesPerNode: number
  /**
   * 32 hex digits, the same for rings of the same nodes (ids, numbers of vnodes, zones) whatever order they came in.
   * Coordinators compare it: those with different checksums would look for a key in different places.
   */
  readonly checksum: string

  private readonly shapes: Shapes<T>
  /** Sorted; `holders[i]` is the node at `tokens[i]`, as an index of `nodes`. */
  private readonly tokens: Uint32Array
  private readonly holders: Uint32Array
  /** By the first bits of a token: the index of the first vnode at or after the tokens with that prefix, or size. */
  private readonly starts: Uint32Array
  private readonly startShift: number
  private readonly lists: readonly (readonly T[])[]
  /** Zone of each of `nodes`, numbered 0 … zoneCount − 1. */
  private readonly zones: Uint32Array
  private readonly zoneCount: number

  /**
   * Makes a ring. 1,000 nodes of 100 vnodes take about 200 ms, four nodes a few.
   *
   * @throws Error for an empty id or one that comes twice; RangeError for a weight or a `vnodesPerNode` out of range,
   * and for more than 2,097,152 vnodes in all
   */
  static of<T extends RingNode>(nodes: Iterable<T>, options: RingOptions<T> = {}): Ring<T> {
    const { vnodesPerNode = DEFAULT_VNODES } = options
    return new Ring([...nodes], vnodesPerNode <= 0 ? DEFAULT_VNODES : vnodesPerNode, {
      of: options.shapeOf ?? ((node) => node),
    })
  }

  private constructor(nodes: T[], vnodesPerNode: number, shapes: Shapes<T>) {
    if (!Number.isSafeInteger(vnodesPerNode) || vnodesPerNode < 1) {
      throw new RangeError(`vnodesPerNode must be an integer of at least 1, not ${vnodesPerNode}.`)
    }
    this.nodes = Object.freeze(nodes.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)))
    refuseBadIds(this.nodes)
    this.vnodesPerNode = vnodesPerNode
    this.shapes = shapes

    const zoneNames = this.nodes.map((node) => zoneOf(shapes.of(node)))
    const counts = this.nodes.map((node) => vnodesOf(node.id, shapes.of(node), vnodesPerNode))
    const vnodes = placeVnodes(this.nodes, counts)
    this.tokens = vnodes.tokens
    this.holders = vnodes.holders
    const bits = Math.max(1, Math.ceil(Math.log2(this.tokens.length)))
    this.startShift = 32 - bits
    this.starts = startsOf(this.tokens, bits)

    const zones = numberZones(zoneNames)
    this.zones = zones.zones
    this.zoneCount = zones.zoneCount

    this.lists = workOutLists(this.nodes, this.holders, this.zones, this.zoneCount)
    this.checksum = fingerprint(
      JSON.stringify(this.nodes.map((node, i) => [node.id, counts[i], zoneNames[i] ?? null])),
    )
    Object.freeze(this)
  }

  /**
   * The ring with one node more. Keys move only to this node. The same ring, if it has a node of this id.
   *
   * @throws as `Ring.of`
   */
  add(node: T): Ring<T> {
    if (this.nodes.some(({ id }) => id === node.id)) return this
    return new Ring([...this.nodes, node], this.vnodesPerNode, this.shapes)
  }

  /** The ring without this node. Only the keys that it held move. The same ring, if no node of this id is on it. */
  remove(id: string): Ring<T> {
    const others = this.nodes.filter((node) => node.id !== id)
    if (others.length === this.nodes.length) return this
    return new Ring(others, this.vnodesPerNode, this.shapes)
  }

  /** Number of vnodes. */
  get size(): number {
    return this.tokens.length
  }

  /** The first node of the key's preference list (the primary); `undefined` only when the ring is empty. */
  owner(key: Uint8Array): T | undefined {
    return this.preferenceListAt(tokenOf(key))[0]
  }

  /**
   * Up to the first eight distinct nodes for this key, nearest first, new zones first. The array is shared between
   * keys and frozen. Empty only when the ring is. For more than eight: `walk`.
   */
  preferenceList(key: Uint8Array): readonly T[] {
    return this.preferenceListAt(tokenOf(key))
  }

  /** `preferenceList` for callers that have the key's token (uint32) already. */
  preferenceListAt(token: number): readonly T[] {
    return this.lists[this.indexAt(token)] ?? NO_NODES
  }

  /** All nodes in the order of this key's preference list, each once, found one by one as they are asked for. */
  walk(key: Uint8Array): Generator<T, void, undefined> {
    return this.walkAt(tokenOf(key))
  }

  /** `walk` for callers that have the key's token (uint32) already. */
  *walkAt(token: number): Generator<T, void, undefined> {
    const { holders, zones, nodes } = this
    const first = this.indexAt(token)
    const after = (i: number) => (i + 1 === holders.length ? 0 : i + 1)
    const taken = new Uint8Array(nodes.length)
    const zoneTaken = new Uint8Array(this.zoneCount)

    for (let i = first, left = this.zoneCount; left > 0; i = after(i)) {
      const node = holders[i]!
      if (zoneTaken[zones[node]!] === 1) continue
      zoneTaken[zones[node]!] = 1
      taken[node] = 1
      left--
      yield nodes[node]!
    }
    for (let i = first, left = nodes.length - this.zoneCount; left > 0; i = after(i)) {
      const node = holders[i]!
      if (taken[node] === 1) continue
      taken[node] = 1
      left--
      yield nodes[node]!
    }
  }

  /** Index (0 … size − 1) of the vnode that a token (uint32) belongs to: the first at or after it, clockwise. */
  indexAt(token: number): number {
    const { tokens } = this
    let index = this.starts[token >>> this.startShift]!
    while (index < tokens.length && tokens[index]! < token) index++
    return index === tokens.length ? 0 : index
  }

  /**
   * The vnode at an index, in the order of the ring.
   *
   * @throws RangeError if the index is not one of 0 … size − 1
   */
  vnodeAt(index: number): Vnode<T> {
    const token = this.tokens[index]
    if (token === undefined) throw new RangeError(`There is no vnode ${index} on a ring of ${this.size}.`)
    return { token, node: this.nodes[this.holders[index]!]! }
  }

  /**
   * The token range that a token (uint32) lies in: all its tokens have the same preference list. `start` = `end` means
   * the whole ring.
   *
   * @throws RangeError if the ring is empty
   */
  rangeOf(token: number): TokenRange {
    const index = this.indexAt(token)
    // Of vnodes that share a token indexAt finds the first, so the one before it stands elsewhere.
    const before = index === 0 ? this.size - 1 : index - 1
    return { start: this.vnodeAt(before).token, end: this.vnodeAt(index).token }
  }
}

const NO_NODES: readonly never[] = Object.freeze([])

function refuseBadIds(sorted: readonly RingNode[]): void {
  sorted.forEach(({ id }, i) => {
    if (typeof id !== 'string' || id === '')
      throw new Error('Every node on the ring needs an id that is not empty.')
    if (i > 0 && sorted[i - 1]!.id === id) {
      throw new Error(`There are two nodes "${id}": an id can be on the ring only once.`)
    }
  })
}

function vnodesOf(id: string, { weight = 1 }: RingShape, vnodesPerNode: number): number {
  if (!Number.isFinite(weight) || weight <= 0) {
    throw new RangeError(`The weight of node "${id}" must be a finite number above 0, not ${weight}.`)
  }
  return Math.max(1, Math.round(vnodesPerNode * weight))
}

function zoneOf({ zone }: RingShape): string | undefined {
  return zone === '' ? undefined : zone
}

function placeVnodes(nodes: readonly RingNode[], counts: readonly number[]) {
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (total > MAX_VNODES) {
    throw new RangeError(
      `A ring has room for ${MAX_VNODES} vnodes, and these nodes want ${total}: lower their weights or vnodesPerNode.`,
    )
  }
  // Token and node in one number: sorted by token, then by node, which are sorted by id.
  const places = new Float64Array(total)
  let at = 0
  nodes.forEach(({ id }, node) => {
    for (let i = 0; i < counts[node]!; i++) places[at++] = vnodeToken(id, i) * nodes.length + node
  })
  places.sort()
  return {
    tokens: Uint32Array.from(places, (place) => Math.floor(place / nodes.length)),
    holders: Uint32Array.from(places, (place) => place % nodes.length),
  }
}

function numberZones(zoneNames: readonly (string | undefined)[]) {
  const numbers = new Map<string, number>()
  let zoneCount = 0
  const zones = Uint32Array.from(zoneNames, (zone) => {
    if (zone === undefined) return zoneCount++
    const known = numbers.get(zone)
    if (known !== undefined) return known
    numbers.set(zone, zoneCount)
    return zoneCount++
  })
  return { zones, zoneCount }
}

function startsOf(tokens: Uint32Array, bits: number): Uint32Array {
  const starts = new Uint32Array(2 ** bits)
  let index = 0
  for (let first = 0; first < starts.length; first++) {
    while (index < tokens.length && tokens[index]! >>> (32 - bits) < first) index++
    starts[first] = index
  }
  return starts
}

/**
 * The preference list behind every vnode, in one pass backwards around the ring. The distinct nodes from vnode i on are its
 * own node, then those from vnode i + 1 on without it:
 *
 *   vnodes      … A  B  A  C …            backwards:  C      → C
 *                                                     A      → A C
 *                                                     B      → B A C
 *                                                     A      → A B C       (A moves to the front)
 *
 * The same holds for zones, where each remembers its node nearest to vnode i. Eight of each are enough: at most eight
 * zones are listed, and if there are fewer, say z, then z of the eight nearest nodes at most are listed already. The
 * first round only finds out what follows the last vnode; the second records.
 */
function workOutLists<T>(nodes: readonly T[], holders: Uint32Array, zones: Uint32Array, zoneCount: number) {
  const size = holders.length
  const lists = new Array<readonly T[]>(size)
  const shared = new Map<string, readonly T[]>()
  const nearNodes: number[] = []
  const nearZones: number[] = []
  const nearestOfZone = new Uint32Array(zoneCount)

  for (let step = 2 * size - 1; step >= 0; step--) {
    const node = holders[step % size]!
    const zone = zones[node]!
    nearestOfZone[zone] = node
    moveToFront(nearNodes, node)
    moveToFront(nearZones, zone)
    if (step >= size) continue

    const picked = nearZones.map((near) => nearestOfZone[near]!)
    for (const near of nearNodes) {
      if (picked.length === LISTED_NODES) break
      if (!picked.includes(near)) picked.push(near)
    }
    const name = picked.join()
    let list = shared.get(name)
    if (list === undefined) {
      list = Object.freeze(picked.map((index) => nodes[index]!))
      shared.set(name, list)
    }
    lists[step] = list
  }
  return lists
}

/** Puts `item` first, whether or not it was in the list, and keeps the list at eight. */
function moveToFront(list: number[], item: number): void {
  let at = list.indexOf(item)
  if (at < 0) at = Math.min(list.length, LISTED_NODES - 1)
  for (; at > 0; at--) list[at] = list[at - 1]!
  list[0] = item
}
