/** The register: one topology for each epoch, whoever proposes, whatever is lost. */
import { expect } from 'chai'
import { propose, registeredIn, type Decision, type Proposal } from '../../src/cluster/register.ts'
import { VersionClock } from '../../src/core/clock.ts'
import { KIND_VALUE } from '../../src/core/codec.ts'
import { TOPOLOGY_KEY } from '../../src/core/keys.ts'
import {
  advance,
  begin,
  founded,
  parseTopology,
  sumOf,
  type Layout,
  type Topology,
} from '../../src/core/topology.ts'
import { FaultyNode } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'
import { seeded, seeds } from '../support/random.ts'
import { VirtualTime } from '../support/virtual-time.ts'

const layout = (ids: readonly string[]): Layout => ({
  members: ids.map((id, i) => ({ id, url: null, weight: 1, zone: null, ordinal: i + 1, life: 1 })),
  replicas: 3,
  vnodes: 10,
})

describe('the register', () => {
  const IDS = ['a', 'b', 'c', 'd', 'e']
  let time: VirtualTime
  let nodes: Map<string, FaultyNode>
  const clocks = new Map<number, VersionClock>()
  const base = founded('c', layout(['a', 'b', 'c']))
  const want = begin(base, layout(['a', 'b', 'c', 'd']))

  beforeEach(() => {
    time = new VirtualTime()
    clocks.clear()
    nodes = new Map(IDS.map((id) => [id, new FaultyNode(id, time)]))
  })

  const versions = (coordinator: number) => {
    if (!clocks.has(coordinator)) clocks.set(coordinator, new VersionClock(() => time.wallMs(), coordinator))
    return clocks.get(coordinator)!
  }
  const until = async <T>(promise: Promise<T>): Promise<T> => {
    let ended = false
    void promise.finally(() => (ended = true))
    await time.settle()
    for (let i = 0; i < 2000 && !ended; i++) await time.advance(10)
    return promise
  }
  const run = (proposal: Partial<Proposal> = {}): Promise<Decision> => {
    const isSound = () => Promise.resolve(true)
    return until(propose({ nodes, versions: versions(1), base, want, isSound, ...proposal }))
  }
  const held = (id: string): Topology | null => {
    const found = registeredIn(nodes.get(id)!.memory.storage.get(TOPOLOGY_KEY))
    return found !== null && found !== 'damaged' && found.kind === 'topology' ? found.topology : null
  }
  const holders = (topology: Topology) => IDS.filter((id) => held(id) && sumOf(held(id)!) === sumOf(topology))
  const only = (...ids: string[]) => new Map([...nodes].filter(([id]) => ids.includes(id)))

  it('decides what is proposed, on all that are reached', async () => {
    expect(await run()).to.deep.equal({ kind: 'decided', topology: want })
    expect(holders(want)).to.deep.equal(IDS)
  })

  it('needs promises of a majority of those that vote now', async () => {
    expect(await run({ nodes: only('a', 'd', 'e') })).to.deep.equal({ kind: 'none' })
    expect(holders(want)).to.deep.equal([])
  })

  it('needs acceptances of a majority of every list, old and new', async () => {
    const away = begin(base, layout(['c', 'd', 'e']))
    expect(await run({ want: away, nodes: only('a', 'b', 'd') })).to.deep.equal({ kind: 'none' })
    expect((await run({ want: away, nodes: only('a', 'b', 'd', 'e') })).kind).to.equal('decided')
  })

  it('counts no answer of a node that is not sound', async () => {
    const isSound = (id: string) => Promise.resolve(id !== 'b')
    expect(await run({ isSound, nodes: only('a', 'b', 'd') })).to.deep.equal({ kind: 'none' })
    expect((await run({ isSound, nodes: only('a', 'c') })).kind).to.equal('none') // two of a, b, c, d
    expect((await run({ isSound, nodes: only('a', 'c', 'd') })).kind).to.equal('decided')
  })

  it('finishes what another coordinator has begun, instead of its own', async () => {
    const other = begin(base, layout(['a', 'b', 'c', 'e']))
    const reached = only('a', 'b')
    nodes.get('b')!.acceptRegister = () => Promise.reject(new Error('lost'))
    expect((await run({ want: other, nodes: reached })).kind).to.equal('none')
    expect(holders(other)).to.deep.equal(['a'])
    delete (nodes.get('b') as Partial<FaultyNode>).acceptRegister
    expect(await run({ versions: versions(2) })).to.deep.equal({ kind: 'decided', topology: other })
  })

  it('learns first where the register is further', async () => {
    await run()
    const next = advance(want)
    expect((await run({ base: want, want: next })).kind).to.equal('decided')
    const other = begin(base, layout(['a', 'b']))
    await run({ versions: versions(2), want: other }) // refused: its ballots must be later than those it meets
    expect(await run({ versions: versions(2), want: other })).to.deep.equal({ kind: 'behind', newest: next })
    expect(holders(next)).to.deep.equal(IDS)
  })

  it('takes over what an earlier release has founded, and lets it read what follows', async () => {
    const { head, value } = record(5, JSON.stringify({ cluster: 'old', epoch: 1, members: ['a', 'b', 'c'] }))
    for (const node of nodes.values())
      node.memory.storage.set(TOPOLOGY_KEY, Buffer.concat([head, value]), Infinity)
    const decision = await run({ base: null, want: founded('new', layout(['a', 'b', 'c'])) })
    expect(decision).to.deep.equal({ kind: 'decided', topology: founded('old', layout(['a', 'b', 'c'])) })
    const bytes = nodes.get('a')!.memory.storage.get(TOPOLOGY_KEY)!
    const json: unknown = JSON.parse(bytes.subarray(31).toString())
    expect(json).to.deep.include({ cluster: 'old', epoch: 1, members: ['a', 'b', 'c'] })
    expect(parseTopology(Buffer.from(JSON.stringify(json)))!.kind).to.equal('topology')
  })

  it('does not count the promise of a node whose bytes nobody wrote', async () => {
    const { head } = record(5, 'x', { kind: KIND_VALUE })
    for (const id of ['a', 'b'])
      nodes.get(id)!.memory.storage.set(TOPOLOGY_KEY, Buffer.concat([head, head]), Infinity)
    expect(await run()).to.deep.equal({ kind: 'none' })
  })

  it('decides one topology for each epoch, though three propose, and messages are lost, late and out of order', async function () {
    this.timeout(30_000)
    let epochs = 0
    for (const seed of seeds(25)) {
      time = new VirtualTime()
      clocks.clear()
      nodes = new Map(IDS.map((id) => [id, new FaultyNode(id, time)]))
      const random = seeded(seed)
      const sleep = (ms: number) => new Promise<void>((resolve) => void time.setTimeout(resolve, ms))
      for (const node of nodes.values()) {
        node.network = async (call) => {
          await sleep(random.below(50))
          if (random.chance(0.15)) throw new Error('the question was lost')
          if (random.chance(0.1)) {
            void sleep(random.below(1000)).then(call)
            throw new Error('late')
          }
          const answer = await call()
          await sleep(random.below(50))
          if (random.chance(0.15)) throw new Error('the answer was lost')
          return answer
        }
      }
      const decided = new Map<number, Map<string, Topology>>()
      const coordinator = async (n: number) => {
        const clock = versions(n)
        let known: Topology = base
        for (let i = 0; i < 25; i++) {
          await sleep(random.below(200))
          const next = stepOf(
            known,
            random.pick([
              ['a', 'b'],
              ['a', 'c', 'd'],
              ['b', 'c', 'd', 'e'],
              ['e', 'd'],
            ]),
          )
          const isSound = () => Promise.resolve(true)
          const decision = await propose({ nodes, versions: clock, base: known, want: next, isSound })
          if (decision.kind === 'decided') {
            known = decision.topology
            const sums = decided.get(known.epoch) ?? new Map<string, Topology>()
            decided.set(known.epoch, sums.set(sumOf(known), known))
          } else if (decision.kind === 'behind') {
            // As a probe would tell: the newest that is decided.
            const newest = [...decided].sort(([one], [two]) => two - one)[0]
            if (newest && newest[0] > known.epoch) known = [...newest[1].values()][0]!
          }
        }
      }
      await until(Promise.all([1, 2, 3].map(coordinator)))
      for (const [epoch, sums] of decided) expect(sums.size, `seed ${seed}, epoch ${epoch}`).to.equal(1)
      epochs += decided.size
    }
    expect(epochs, 'hardly anything was decided').to.be.greaterThan(40)
  })

  function stepOf(from: Topology, ids: readonly string[]): Topology {
    if (from.phase !== 'stable') return advance(from)
    const next = layout(ids)
    return JSON.stringify(next) === JSON.stringify(from.layout)
      ? begin(from, layout(['a', 'b', 'c', 'e']))
      : begin(from, next)
  }
})
