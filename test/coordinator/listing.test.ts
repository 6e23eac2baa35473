import { expect } from 'chai'
import { liveWithEnd } from '../../src/coordinator/promises.ts'
import type { StoredRecord } from '../../src/core/codec.ts'
import type { RondoError } from '../../src/core/errors.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'
import { refusedAs, type FaultyNode } from '../support/faulty-node.ts'

describe('listing the keys', () => {
  const KEYS = Array.from({ length: 60 }, (_, i) => `key:${String(i).padStart(2, '0')}`)
  let under: CoordinatorUnderTest

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started()
    for (const key of KEYS) await under.put(key, 'v')
  })
  afterEach(() => under.cluster.stop())

  /** All pages; keeps what came twice. @param between called with the number of pages so far */
  async function list(
    match: string | null = null,
    count = 7,
    between: (pages: number) => unknown = () => undefined,
  ): Promise<string[]> {
    const keys: string[] = []
    let cursor = '0'
    for (let pages = 0; pages < 1000; pages++) {
      await between(pages)
      const page = await under.done(
        under.coordinator.list({
          database: 0,
          match: match === null ? null : Buffer.from(match),
          cursor,
          count,
        }),
      )
      keys.push(...page.keys.map(String))
      cursor = page.cursor
      if (cursor === '0') return keys.sort()
    }
    throw new Error('the listing does not end')
  }
  const failure = (request: {
    database: number
    match: null
    cursor: string
    count: number
  }): Promise<RondoError> =>
    under.done(under.coordinator.list(request)).then(
      () => expect.fail('it was listed'),
      (error: RondoError) => error,
    )

  it('gives each key once, although it has three copies', async () => {
    expect(await list()).to.deep.equal(KEYS)
    expect(await list(null, 1)).to.deep.equal(KEYS)
    expect(await list(null, 1000)).to.deep.equal(KEYS)
  })

  it('gives only those that match', async () => {
    expect(await list('key:1?')).to.deep.equal(KEYS.slice(10, 20))
    expect(await list('nothing*')).to.deep.equal([])
  })

  it('matches what could keep a node busy by itself, and gives the node no such pattern', async () => {
    const given: (string | null)[] = []
    for (const { node } of under.cluster.members) {
      const scan = node.scan.bind(node)
      node.scan = (cursor, match, count) => {
        given.push(match?.toString() ?? null)
        return scan(cursor, match, count)
      }
    }
    expect(await list('k*:*1*?')).to.deep.equal(KEYS.slice(10, 20))
    expect(await list(`*[${'B'.repeat(500)}1]?`)).to.deep.equal(KEYS.slice(10, 20))
    expect(new Set(given)).to.deep.equal(new Set([null]))
    await list('key:1?')
    expect(given.at(-1)).to.equal('key:1?')
  })

  it('finds the few keys of a small database beside a large one in few pages, none of them empty', async () => {
    for (let i = 0; i < 3000; i++) await under.put(`more:${i}`, 'v')
    const small = ['a', 'b', 'c']
    for (const key of small) await under.put(`__rondo:db2:${key}`, 'v')
    const found: string[] = []
    let pages = 0
    let cursor = '0'
    do {
      const request = { database: 2, match: null, cursor, count: 10 }
      const page = await under.done(under.coordinator.list(request))
      found.push(...page.keys.map(String))
      cursor = page.cursor
      pages++
      if (cursor !== '0') expect(page.keys, `page ${pages}`).not.to.deep.equal([])
    } while (cursor !== '0')
    expect(found.sort()).to.deep.equal(small)
    expect(pages).to.be.at.most(4)
  })

  it('finds a random key of a small database wherever it is', async () => {
    for (let i = 0; i < 1000; i++) await under.put(`more:${i}`, 'v')
    await under.put('__rondo:db2:a', 'v')
    // As if there were a hundred times as many keys.
    for (const node of under.nodes) {
      const scan = node.scan.bind(node)
      node.scan = (cursor, match, count) => scan(cursor, match, Math.min(count, 10))
    }
    for (let i = 0; i < 20; i++)
      expect(String(await under.done(under.coordinator.randomKey(2)))).to.equal('a')
    expect(await under.done(under.coordinator.randomKey(3))).to.equal(null)
  })

  it('refuses a pattern that is longer than a key', async () => {
    const match = Buffer.alloc(1025, '*')
    const error: unknown = await under
      .done(under.coordinator.list({ database: 0, match, cursor: '0', count: 1 }))
      .catch((error: unknown) => error)
    expect(error).to.include({ code: 'BAD_REQUEST' })
  })

  it('leaves out what is deleted or expired, and our own keys', async () => {
    await under.del(KEYS[3]!)
    await under.put(KEYS[4]!, 'v', under.coordinator.nowMs() + 100)
    await under.time.advance(101)
    const left = KEYS.filter((key) => key !== KEYS[3] && key !== KEYS[4])
    expect(await list()).to.deep.equal(left)
    expect(await list('__rondo:*')).to.deep.equal([])
  })

  it('lists values that Rondo did not write', async () => {
    for (const node of under.nodesOf('plain').slice(0, 3)) {
      node.memory.storage.set(Buffer.from('plain'), Buffer.from('x'), Infinity)
    }
    expect(await list('p*')).to.deep.equal(['plain'])
  })

  it('gives each key once while a node is down, and those that only a fallback replica took in its place', async () => {
    const node = under.nodes[0]!
    node.cut()
    await under.time.advance(10)
    await under.put('written while it was away', 'v')
    expect(await list()).to.deep.equal([...KEYS, 'written while it was away'].sort())
  })

  it('asks a node that may be behind only where no other can tell', async () => {
    const node = under.nodes[0]!
    node.cut()
    await under.time.advance(10)
    for (const key of KEYS.slice(0, 30)) await under.del(key)
    node.heal()
    await under.time.advance(3000)
    expect(await list()).to.deep.equal(KEYS.slice(30))
  })

  it('compares where all may be behind: no deleted key comes back, no new one is left out', async () => {
    const key = KEYS[0]!
    const [first, second, third] = under.nodesOf(key) as [FaultyNode, FaultyNode, FaultyNode]
    for (const node of [first, second, third]) node.cut()
    await under.time.advance(10)
    await under.del(key) // by the fallback replica alone
    await under.put('new', 'v')
    for (const node of [first, second, third]) node.heal()
    await under.time.advance(3000)
    expect(first.holds(key)).to.equal('v')
    expect(await list()).to.deep.equal([...KEYS.slice(1), 'new'].sort())
  })

  it('lists what homes and fallback replicas hold when every node may be behind', async () => {
    for (const node of under.nodes) under.member(node).markBehind('test')
    expect(await list()).to.deep.equal(KEYS)
  })

  it('is not stopped by a key of another type somewhere', async () => {
    const key = KEYS[0]!
    const [first, second, third] = under.nodesOf(key) as [FaultyNode, FaultyNode, FaultyNode]
    for (const node of [first, second, third]) under.member(node).markBehind('test')
    const get = second.get.bind(second)
    second.get = (asked, call) => {
      if (asked.toString() !== key) return get(asked, call)
      const failure = { kind: 'refused', reason: 'wrong-type', message: 'WRONGTYPE' } as const
      under.time.endOfTurn(() => call.onFailure(second, failure))
    }
    expect(await list()).to.deep.equal(KEYS)
  })

  it('says so when too many nodes are away for the list to be complete', async () => {
    for (const node of under.nodes.slice(0, 3)) node.cut()
    await under.time.advance(10)
    const error = await failure({ database: 0, match: null, cursor: '0', count: 10 })
    expect(error.code).to.equal('UNAVAILABLE')
    expect(error.message).to.include('node-1, node-2, node-3')
  })

  it('says so when a node fails while it is listed', async () => {
    under.nodes[0]!.scan = () => Promise.reject(new Error('closed'))
    expect((await failure({ database: 0, match: null, cursor: '0', count: 10 })).code).to.equal('UNAVAILABLE')
  })

  describe('while nodes change', () => {
    const atPage = (n: number, change: () => void) => (pages: number) => {
      if (pages !== n) return
      change()
      return under.time.advance(10)
    }

    it('gives each key once when a node catches up in between', async () => {
      for (const node of under.nodes) {
        for (const n of [1, 5, 9]) {
          const member = under.member(node)
          member.markBehind('test')
          const keys = await list(
            null,
            4,
            atPage(n, () => member.caughtUp(member.misses)),
          )
          expect(keys, `${node.id} at page ${n}`).to.deep.equal(KEYS)
        }
      }
    })

    it('gives each key once when a node falls behind in between', async () => {
      for (const node of under.nodes) {
        for (const n of [1, 5, 9]) {
          const member = under.member(node)
          const keys = await list(
            null,
            4,
            atPage(n, () => member.markBehind('test')),
          )
          expect(keys, `${node.id} at page ${n}`).to.deep.equal(KEYS)
          member.caughtUp(member.misses)
        }
      }
    })

    it('does not list what is deleted while a node that would tell of it is behind', async () => {
      const key = KEYS[7]!
      const [first] = under.nodesOf(key)
      const keys = await list(null, 1000, async (pages) => {
        if (pages > 0) return
        // The listing has begun; what it begins with is noted in the first cursor.
        const scan = first!.scan.bind(first)
        first!.scan = async (...args) => {
          const page = await scan(...args)
          under.member(first!).markBehind('test')
          for (const node of under.nodesOf(key).slice(1, 3)) {
            const { bytes } = under.nodesOf(key)[0]!.held(key)!
            const tombstone = Buffer.from(bytes.subarray(0, 31))
            tombstone[4] = 1
            tombstone.writeUIntBE(tombstone.readUIntBE(5, 6) + 1000, 5, 6)
            node.memory.storage.set(Buffer.from(key), tombstone, Infinity)
          }
          return page
        }
        await under.time.settle()
      })
      expect(keys).to.deep.equal(KEYS.filter((each) => each !== key))
    })

    it('says so when a node that has yet to tell may have lost keys; who has told already may lose them', async () => {
      const last = under.nodes[3]!
      const failed = await list(
        null,
        4,
        atPage(1, () => {
          last.restart()
          void under.time.advance(3000)
        }),
      ).catch((error: RondoError) => error)
      expect((failed as RondoError).code).to.equal('UNAVAILABLE')
      await under.time.advance(5000)
      expect(under.member(last).completeness).to.equal('filling')
      expect(await list()).to.deep.equal(KEYS) // a new listing does without it
    })

    it('goes on with the same cursor when a node is back', async () => {
      const last = under.nodes[3]!
      let cursor = '0'
      const keys: string[] = []
      const next = async () => {
        const page = await under.done(under.coordinator.list({ database: 0, match: null, cursor, count: 4 }))
        keys.push(...page.keys.map(String))
        cursor = page.cursor
      }
      await next()
      last.cut()
      await under.time.advance(10)
      let failures = 0
      for (let pages = 0; pages < 100 && cursor !== '0'; pages++) {
        try {
          await next()
        } catch (error) {
          expect((error as RondoError).code).to.equal('UNAVAILABLE')
          expect((error as RondoError).message).to.include(last.id)
          failures++
          last.heal()
          await under.time.advance(3000)
        }
      }
      expect(failures).to.equal(1)
      expect(keys.sort()).to.deep.equal(KEYS)
    })
  })

  it('refuses cursors that it did not give', async () => {
    for (const cursor of [
      '',
      '1',
      'x',
      '9-0',
      '-1-0',
      '0-',
      '0-x',
      '0-0-0',
      '0-0.',
      '0-0.4',
      '0-0.x',
      '00000000000000-1',
    ]) {
      expect((await failure({ database: 0, match: null, cursor, count: 10 })).code, cursor).to.equal(
        'BAD_REQUEST',
      )
    }
  })
})

describe('explaining a key', () => {
  it('tells where it lives, who would be asked, and what each of them holds', async () => {
    const under = await CoordinatorUnderTest.started()
    await under.put('k', 'v1')
    const nodes = under.nodesOf('k')
    const [first, second, third, fallback] = nodes as [FaultyNode, FaultyNode, FaultyNode, FaultyNode]
    const plain = await under.done(under.coordinator.explain(Buffer.from('k')))
    expect(plain.replicaSet).to.deep.equal([first.id, second.id, third.id])
    expect(plain.readOrder).to.deep.equal(nodes.map((node) => node.id))
    expect(plain.replicas.map(({ role }) => role)).to.deep.equal(['primary', 'replica', 'replica'])

    first.cut()
    await under.time.advance(10)
    await under.del('k')
    first.heal()
    await under.time.advance(3000)
    third.cut()
    await under.time.advance(10)
    const { replicas, readOrder } = await under.done(under.coordinator.explain(Buffer.from('k')))
    expect(readOrder).to.deep.equal([second.id, first.id, fallback.id])
    const told = replicas.map(({ node, role, state, mayBeBehind, holds }) => {
      return [node, role, state, mayBeBehind, holds && ('kind' in holds ? holds.kind : 'error')]
    })
    expect(told).to.deep.equal([
      [first.id, 'primary', 'up', true, 'value'],
      [second.id, 'replica', 'up', false, 'tombstone'],
      [third.id, 'replica', 'down', true, 'error'],
      [fallback.id, 'fallback', 'up', false, 'tombstone'],
    ])
    await under.cluster.stop()
  })
})

describe('when a value that Rondo did not write expires', () => {
  it('is what a node that holds it says', async () => {
    const under = await CoordinatorUnderTest.started()
    const [first, second] = under.nodesOf('k') as [FaultyNode, FaultyNode]
    second.memory.storage.set(Buffer.from('k'), Buffer.from('plain'), 5000)
    first.refusal = { kind: 'refused', reason: 'busy', message: 'BUSY' }
    let record: Parameters<typeof under.coordinator.expiresAtMs>[1] | null = null
    under.coordinator.read(Buffer.from('k'), { read: (found) => (record = found), failed: () => undefined })
    await under.time.settle()
    expect(record!).not.to.equal(null)
    const expiresAtMs = await under.done(under.coordinator.expiresAtMs(Buffer.from('k'), record!))
    expect(expiresAtMs! - under.coordinator.nowMs()).to.be.within(4900, 5001)
    first.cut()
    expect(await under.done(under.coordinator.expiresAtMs(Buffer.from('k'), record!))).to.be.above(0)
    second.memory.storage.set(Buffer.from('k'), Buffer.from('plain'), Infinity)
    expect(await under.done(under.coordinator.expiresAtMs(Buffer.from('k'), record!))).to.equal(0)
    await under.cluster.stop()
  })

  it('is not guessed: an error if a node that may hold it does not answer, nothing if it is gone', async () => {
    const under = await CoordinatorUnderTest.started()
    const [first] = under.nodesOf('k') as [FaultyNode]
    const key = Buffer.from('k')
    first.memory.storage.set(key, Buffer.from('plain'), 5000)
    const record = first.held('k')!
    const end = () =>
      under.done(under.coordinator.expiresAtMs(key, record).catch((error: RondoError) => error.code))
    first.refusal = refusedAs('busy')
    expect(await end()).to.equal('UNAVAILABLE')
    first.refusal = null
    first.network = () => Promise.reject(new Error('the control connection was closed'))
    expect(await end()).to.equal('UNAVAILABLE')
    first.network = (call) => call()
    first.memory.storage.delete(key)
    expect(await end()).to.equal(null)
    await under.cluster.stop()
  })

  it('is that of what is there instead, when the value was replaced or has expired since it was read', async () => {
    const under = await CoordinatorUnderTest.started()
    const [first] = under.nodesOf('k') as [FaultyNode]
    const key = Buffer.from('k')
    const read = () =>
      new Promise<StoredRecord | null>((resolve, failed) =>
        under.coordinator.read(key, { read: resolve, failed }),
      )
    /** Read while the first node holds a value that Rondo did not write; `meanwhile` happens before its end is asked for. */
    const live = (meanwhile: () => unknown) => {
      first.memory.storage.set(key, Buffer.from('plain'), 5000)
      let times = 0
      const reading = async () => {
        const record = await read()
        if (times++ === 0) await meanwhile()
        return record
      }
      return under.done(liveWithEnd(under.coordinator, key, reading))
    }
    expect(await live(() => first.memory.storage.delete(key))).to.equal(null)
    const endMs = Math.ceil(under.coordinator.nowMs()) + 9000
    const replaced = await live(() => under.write('k', 'ours', endMs))
    expect([replaced!.record.value.toString(), replaced!.expiresAtMs]).to.deep.equal(['ours', endMs])
    await under.cluster.stop()
  })
})
