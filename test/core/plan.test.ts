import { expect } from 'chai'
import {
  planRead,
  planWrite,
  READ_COMPARED,
  READ_FIRST,
  READ_LATER,
  READ_NEVER,
  type Candidate,
  type Candidates,
} from '../../src/core/plan.ts'

/** ok, suspect, may be behind, full (and so behind), read-only, gone */
const KINDS = {
  o: { readRank: READ_FIRST, takesValues: true, takesDeletes: true },
  s: { readRank: READ_LATER, takesValues: true, takesDeletes: true },
  b: { readRank: READ_COMPARED, takesValues: true, takesDeletes: true },
  f: { readRank: READ_COMPARED, takesValues: false, takesDeletes: true },
  r: { readRank: READ_COMPARED, takesValues: false, takesDeletes: false },
  x: { readRank: READ_NEVER, takesValues: false, takesDeletes: false },
} satisfies Record<string, Candidate>
type Kind = keyof typeof KINDS
type Named = Candidate & { name: string; kind: Kind; place: number }

/** `oxb|o` are three home replicas and a fallback replica, named A, B, C, D. */
function nodes(health: string): Candidates<Named> {
  const kinds = [...health.replace('|', '')] as Kind[]
  const preference = kinds.map((kind, place) => {
    return { ...KINDS[kind], kind, place, name: String.fromCharCode(65 + place) }
  })
  const replicas = health.indexOf('|')
  return { homes: preference.slice(0, replicas), voters: replicas, fallbacks: preference.slice(replicas) }
}
const names = (list: readonly Named[]) => list.map(({ name }) => name).join('')

describe('the plan of a read', () => {
  const table: [string, string, string, number][] = [
    // health   in turn, compared, of which home
    ['ooo|oo', 'ABC', 'DE', 0],
    ['xoo|o', 'BC', 'D', 0],
    ['soo|o', 'BCA', 'D', 0],
    ['sos|o', 'BAC', 'D', 0],
    ['boo|o', 'BC', 'AD', 1],
    ['bso|x', 'CB', 'A', 1],
    ['xxx|oo', '', 'DE', 0],
    ['bbb|bo', '', 'ABCDE', 3],
    ['xbx|sx', '', 'BD', 1],
    ['fro|f', 'C', 'ABD', 2],
    ['xxx|xx', '', '', 0],
    ['o|', 'A', '', 0],
  ]
  for (const [health, inTurn, compared, homes] of table) {
    it(`${health}: ${inTurn || 'nobody'} in turn, then ${compared || 'nobody'}`, () => {
      const plan = planRead(nodes(health))
      expect([names(plan.inTurn), names(plan.compared), plan.comparedHomes]).to.deep.equal([
        inTurn,
        compared,
        homes,
      ])
    })
  }
})

describe('the plan of a write', () => {
  const table: [string, string, string, number, string, string][] = [
    // health   op        targets  homes missing spare
    ['ooo|oo', 'value', 'ABC', 3, '', 'DE'],
    ['xoo|oo', 'value', 'BCD', 2, 'A', 'E'],
    ['oxo|xo', 'value', 'ACE', 2, 'B', ''],
    ['xxo|oo', 'value', 'CDE', 1, 'AB', ''],
    ['xxx|oo', 'value', 'DE', 0, 'ABC', ''],
    ['xxx|xx', 'value', '', 0, 'ABC', ''],
    ['boo|o', 'value', 'BCA', 3, '', 'D'],
    ['sbo|o', 'value', 'CAB', 3, '', 'D'],
    ['foo|o', 'value', 'BCD', 2, 'A', ''],
    ['foo|o', 'delete', 'BCA', 3, '', 'D'],
    ['roo|o', 'delete', 'BCD', 2, 'A', ''],
    ['xoo|fo', 'value', 'BCE', 2, 'A', ''],
    ['xoo|fo', 'delete', 'BCD', 2, 'A', 'E'],
  ]
  for (const [health, op, targets, homes, missing, spare] of table) {
    it(`${health}, a ${op}: to ${targets || 'nobody'}, missing ${missing || 'nobody'}`, () => {
      const plan = planWrite(nodes(health), op === 'delete')
      expect([names(plan.targets), plan.homes, names(plan.missing), names(plan.spare)]).to.deep.equal([
        targets,
        homes,
        missing,
        spare,
      ])
    })
  }
})

describe('every plan, for every mix of health', () => {
  const kinds = Object.keys(KINDS)
  const mixes = (length: number): string[] =>
    length === 0 ? [''] : mixes(length - 1).flatMap((rest) => kinds.map((kind) => kind + rest))
  const all = [1, 2, 3].flatMap((replicas) =>
    mixes(4).map((health) => nodes(`${health.slice(0, replicas)}|${health.slice(replicas)}`)),
  )

  it('asks each node once at most, no node that cannot be read, and compares what may be behind', () => {
    for (const set of all) {
      const { inTurn, compared, comparedHomes } = planRead(set)
      const preference = [...set.homes, ...set.fallbacks]
      const replicas = set.homes.length
      const asked = [...inTurn, ...compared]
      expect(new Set(asked).size).to.equal(asked.length)
      expect(asked.every((node) => node.readRank !== READ_NEVER)).to.equal(true)
      expect(asked.length).to.equal(preference.filter((node) => node.readRank !== READ_NEVER).length)
      expect(inTurn.every((node) => node.place < replicas && node.readRank < READ_COMPARED)).to.equal(true)
      compared.forEach((node, i) => expect(node.place < replicas).to.equal(i < comparedHomes))
    }
  })

  it('keeps as many copies as there are nodes that take them, up to N, home replicas before fallback replicas', () => {
    for (const set of all) {
      const preference = [...set.homes, ...set.fallbacks]
      const replicas = set.homes.length
      for (const isDelete of [false, true]) {
        const { targets, homes, missing, spare } = planWrite(set, isDelete)
        const taking = preference.filter((node) => (isDelete ? node.takesDeletes : node.takesValues))
        expect(targets.length).to.equal(Math.min(replicas, taking.length))
        expect([...names([...targets, ...spare])].sort().join('')).to.equal(names(taking))
        targets.forEach((node, i) => expect(node.place < replicas).to.equal(i < homes))
        expect(homes + missing.length).to.equal(replicas)
        const fallbacks = [...targets.slice(homes), ...spare].map((node) => node.place)
        expect(fallbacks).to.deep.equal([...fallbacks].sort())
      }
    }
  })

  it('waits for a write at the very node that a read asks first', () => {
    for (const set of all) {
      const read = planRead(set).inTurn.filter((node) => node.takesValues)
      const { targets } = planWrite(set, false)
      if (read.length > 0) expect(targets[0]).to.equal(read[0])
    }
  })
})
