/** The register: one topology for each epoch, whoever proposes, whatever is lost. */
import { expect } from 'chai'
import { propose, registeredIn, type Decision, type Proposal } from '../../src/cluster/register.ts'
import { VersionClock } from '../../src/core/clock.ts'
import { KIND_VALUE } from '../../src/core/codec.ts'
import { TOPOLOGY_KEY } from '../../src/core/keys.ts'
import type { Queued } from '../../src/core/queued.ts'
import {
  advance,
  begin,
  cancel,
  founded,
  parseTopology,
  recover,
  sumOf,
  type Layout,
  type Topology,
} from '../../src/core/topology.ts'
import { FaultyNode } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'
import { seeded, seeds, type Random } from '../support/random.ts'
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
  const first = founded('c', layout(['a', 'b', 'c']))
  const base = { ...first, epoch: 5, since: 5 }
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

  const sleep = (ms: number) => new Promise<void>((resolve) => void time.setTimeout(resolve, ms))
  /** Questions and answers are late, lost, and out of order. */
  const disturb = (random: Random) => {
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
  }

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

  describe('in the first epoch, when each coordinator has its members from its configuration', () => {
    const grown = begin(first, layout(['a', 'b', 'c', 'd']))
    const late = founded('c', layout(['c', 'd', 'e']))
    const other = begin(late, layout(['c', 'd', 'e', 'a']))
    const of = (...ids: string[]) => ({ nodes: only(...ids) })

    it('needs all that stay, and a majority of the next', async () => {
      expect(await run({ base: first, want: grown, ...of('a', 'b', 'd') })).to.deep.equal({ kind: 'none' })
      const away = begin(first, layout(['a', 'b', 'd']))
      expect((await run({ base: first, want: away, ...of('a', 'b', 'd') })).kind).to.equal('decided')
    })

    it('tells of what another one with other members may have decided, and changes nothing', async () => {
      expect((await run({ base: first, want: grown, ...of('a', 'b', 'c') })).kind).to.equal('decided')
      const disputed = await run({
        versions: versions(2),
        base: late,
        want: other,
        ...of('c', 'd', 'e'),
      })
      expect(disputed).to.deep.equal({ kind: 'disputed', topology: grown })
      expect(holders(grown)).to.deep.equal(['a', 'b', 'c'])
      expect(holders(other)).to.deep.equal([])
    })

    it('goes on where a node that had to accept it has not', async () => {
      const wide = founded('c', layout(['b', 'c', 'd']))
      const mine = begin(wide, layout(['b', 'c', 'd', 'e']))
      nodes.get('c')!.acceptRegister = () => Promise.reject(new Error('lost'))
      expect((await run({ base: first, want: grown, ...of('a', 'b', 'c') })).kind).to.equal('none')
      expect(holders(grown)).to.deep.equal(['a', 'b'])
      delete (nodes.get('c') as Partial<FaultyNode>).acceptRegister
      const decision = await run({ versions: versions(2), base: wide, want: mine, ...of('b', 'c', 'd') })
      expect(decision).to.deep.equal({ kind: 'decided', topology: mine })
    })

    it('never decides two, though the members of three coordinators differ and messages are lost', async function () {
      this.timeout(30_000)
      const lists = [
        ['a', 'b', 'c'],
        ['c', 'd', 'e'],
        ['a', 'c', 'e', 'd'],
      ]
      let decided = 0
      for (const seed of seeds(150)) {
        time = new VirtualTime()
        clocks.clear()
        nodes = new Map(IDS.map((id) => [id, new FaultyNode(id, time)]))
        const random = seeded(seed)
        disturb(random)
        const sums = new Set<string>()
        const coordinator = async (n: number) => {
          const mine = founded('c', layout(lists[n]!))
          const next = IDS.find((id) => !lists[n]!.includes(id))!
          const want = begin(mine, layout([...lists[n]!, next]))
          for (let i = 0; i < 12; i++) {
            await sleep(random.below(200))
            const isSound = () => Promise.resolve(true)
            const asked = only(...lists[n]!, next)
            const decision = await propose({
              nodes: asked,
              versions: versions(n + 1),
              base: mine,
              want,
              isSound,
            })
            if (decision.kind === 'decided') sums.add(sumOf(decision.topology))
          }
        }
        await until(Promise.all(lists.map((_, n) => coordinator(n))))
        expect(sums.size, `seed ${seed}`).to.be.at.most(1)
        decided += sums.size
      }
      expect(decided, 'hardly anything was decided').to.be.greaterThan(30)
    })
  })

  it('decides one topology for each epoch, though three propose, and messages are lost, late and out of order', async function () {
    this.timeout(30_000)
    let epochs = 0
    for (const seed of seeds(25)) {
      time = new VirtualTime()
      clocks.clear()
      nodes = new Map(IDS.map((id) => [id, new FaultyNode(id, time)]))
      const random = seeded(seed)
      disturb(random)
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

  describe('when a majority is given up', () => {
    const five = { ...base, layout: layout(IDS) }
    const left = recover(five, ['d', 'e'])

    it('is decided by all that are left, and goes on with them', async () => {
      expect((await run({ base: five, want: left, nodes: only('d') })).kind).to.equal('none')
      expect(
        (await run({ base: five, want: { ...left, generation: 1 }, nodes: only('d', 'e') })).kind,
      ).to.equal('none')
      expect((await run({ base: five, want: left, nodes: only('d', 'e') })).kind).to.equal('decided')
      let now = left
      while (now.phase !== 'stable') {
        const next = advance(now)
        expect(await run({ base: now, want: next, nodes: only('d', 'e') })).to.deep.include({
          topology: next,
        })
        now = next
      }
      expect(now.layout).to.deep.equal({ ...five.layout, members: five.layout.members.slice(3) })
      expect(now.generation).to.equal(2)
    })

    it('is finished by another coordinator, when the first one has died over it', async () => {
      // It got no answer from e any more.
      let calls = 0
      nodes.get('e')!.network = (call) => (++calls > 1 ? Promise.reject(new Error('lost')) : call())
      expect((await run({ base: five, want: left, nodes: only('d', 'e') })).kind).to.equal('none')
      expect(holders(left)).to.deep.equal(['d'])
      nodes.get('e')!.network = (call) => call()
      const others = { base: five, versions: versions(2), nodes: only('d', 'e') }
      await run({ ...others, want: left }) // the first ballot may be older than theirs
      expect(await run({ ...others, want: left })).to.deep.equal({ kind: 'decided', topology: left })
      expect(holders(left)).to.deep.equal(['d', 'e'])
      // It may have been decided: another one in its place is not.
      const alone = recover(five, ['d'])
      expect((await run({ ...others, want: alone, nodes: only('d') })).kind).to.equal('none')
      expect(await run({ ...others, want: alone })).to.deep.equal({ kind: 'decided', topology: left })
    })

    it('is later than whatever those that are gone have begun or decided', async () => {
      const theirs = begin(five, layout(['a', 'b', 'c', 'd']))
      expect((await run({ base: five, want: theirs })).kind).to.equal('decided')
      const decision = await run({ base: five, want: left, nodes: only('d', 'e'), versions: versions(2) })
      // The first ballot may be older than theirs.
      const again = await run({ base: five, want: left, nodes: only('d', 'e'), versions: versions(2) })
      expect([decision.kind, again.kind]).to.include('decided')
      expect(held('d')).to.deep.equal(left)
      expect(left.epoch).to.be.above(theirs.epoch + 500)
    })
  })

  describe('what waits', () => {
    const item = (id: string): Queued => {
      const nothing = { join: [], dropData: false, leave: [], acceptLoss: false, weights: [], zones: [] }
      return { id, askedAtMs: 0, asked: { kind: 'change', ...nothing, replicas: 2 } }
    }
    const both = { ...want, epoch: 8, since: 8 }
    const add = (id: string) => (held: readonly Queued[]) => [...held, item(id)]
    const idsOf = (decision: Decision) =>
      decision.kind === 'decided' ? (decision.queue ?? []).map(({ id }) => id) : decision.kind

    it('is added to and taken from without another epoch, and kept with each step', async () => {
      expect(idsOf(await run({ base: both, want: both, queue: add('x') }))).to.deep.equal(['x'])
      const second = await run({ base: both, want: both, queue: add('y'), versions: versions(2) })
      expect(second).to.deep.equal({ kind: 'decided', topology: both, queue: [item('x'), item('y')] })
      const switched = advance(both)
      expect(idsOf(await run({ base: both, want: switched }))).to.deep.equal(['x', 'y'])
      const queue = (held: readonly Queued[]) => held.filter(({ id }) => id !== 'x')
      expect(idsOf(await run({ base: switched, want: switched, queue }))).to.deep.equal(['y'])
      expect(idsOf(await run({ base: switched, want: advance(switched) }))).to.deep.equal(['y'])
    })

    it('is added to, and the change cancelled, while the nodes that join are away', async () => {
      const joint = begin(base, layout(['c', 'd', 'e']))
      const reached = { base: joint, nodes: only('a', 'b') }
      expect(idsOf(await run({ ...reached, want: joint, queue: add('x') }))).to.deep.equal(['x'])
      const undone = cancel(joint)
      expect(await run({ ...reached, want: undone })).to.deep.equal({
        ...{ kind: 'decided', topology: undone, queue: [item('x')] },
      })
      // What would have gone on with it finds that.
      expect(await run({ base: joint, want: advance(joint) })).to.deep.include({ topology: undone })
    })

    it('does not let the next layout vote without a majority of it', async () => {
      const joint = begin(base, layout(['c', 'd', 'e']))
      expect((await run({ base: joint, want: advance(joint), nodes: only('a', 'b') })).kind).to.equal('none')
    })

    it('is not lost, whoever adds to it and goes on, though messages are lost, late and out of order', async function () {
      this.timeout(60_000)
      let added = 0
      for (const seed of seeds(40)) {
        time = new VirtualTime()
        clocks.clear()
        nodes = new Map(IDS.map((id) => [id, new FaultyNode(id, time)]))
        const random = seeded(seed)
        disturb(random)
        let newest: Topology = base
        const acked = new Set<string>()
        const sums = new Map<number, string>()
        const isSound = () => Promise.resolve(true)
        const coordinator = async (n: number) => {
          let known: Topology = base
          for (let i = 0; i < 25; i++) {
            await sleep(random.below(200))
            if (newest.epoch > known.epoch && random.chance(0.7)) known = newest
            const id = `${n}-${i}`
            const isCancelled = known.phase === 'both' && random.chance(0.5)
            const asked: Partial<Proposal> = random.chance(0.5)
              ? { want: known, queue: add(id) }
              : {
                  want: isCancelled
                    ? cancel(known)
                    : stepOf(
                        known,
                        random.pick([
                          ['c', 'd', 'e'],
                          ['a', 'd', 'e'],
                          ['a', 'b', 'c'],
                        ]),
                      ),
                }
            const decision = await propose({
              nodes,
              versions: versions(n),
              base: known,
              want: known,
              isSound,
              ...asked,
            })
            if (decision.kind !== 'decided') continue
            known = decision.topology
            const sum = sums.get(known.epoch) ?? sumOf(known)
            expect(sumOf(known), `seed ${seed}, epoch ${known.epoch}`).to.equal(sum)
            sums.set(known.epoch, sum)
            if (known.epoch > newest.epoch) newest = known
            if (decision.queue?.some((one) => one.id === id)) acked.add(id)
          }
        }
        await until(Promise.all([1, 2, 3].map(coordinator)))
        for (const node of nodes.values()) node.network = (call) => call()
        let last: Decision = { kind: 'none' }
        for (let i = 0; i < 10 && last.kind !== 'decided'; i++) {
          last = await run({ base: newest, want: newest, versions: versions(4) })
        }
        expect(idsOf(last), `seed ${seed}`).to.include.members([...acked])
        added += acked.size
      }
      expect(added, 'hardly anything was added').to.be.greaterThan(50)
    })
  })

  function stepOf(from: Topology, ids: readonly string[]): Topology {
    if (from.phase !== 'stable') return advance(from)
    const next = layout(ids)
    return JSON.stringify(next) === JSON.stringify(from.layout)
      ? begin(from, layout(['a', 'b', 'c', 'e']))
      : begin(from, next)
  }
})
