// KeyvRondo: the tests that Keyv has for its stores, and what they do not ask.
import { isDeepStrictEqual } from 'node:util'
import { keyvApiTests, keyvIteratorTests, keyvNamespaceTest, keyvValueTests } from '@keyv/test-suite'
import { expect } from 'chai'
import { Keyv } from 'keyv'
import { KeyvRondo, type KeyvRondoOptions } from '../../src/library/keyv.ts'
import { NOT_CONNECTED } from '../../src/library/node-contract/index.ts'
import { MapNode, MapServer } from '../support/map-node.ts'
import { call } from '../support/raw-http.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

/** The part of Vitest that the suite uses: each case gets `expect`. */
function vitestLike() {
  const matchersOf = (actual: unknown) => {
    const holds = (isMet: boolean, what: string) => {
      if (!isMet) throw new Error(`expected ${String(actual)} ${what}`)
    }
    return {
      toBe: (expected: unknown) => holds(Object.is(actual, expected), `to be ${String(expected)}`),
      toEqual: (expected: unknown) => holds(isDeepStrictEqual(actual, expected), 'to equal another'),
      toBeTruthy: () => holds(Boolean(actual), 'to be truthy'),
      toBeFalsy: () => holds(!actual, 'to be falsy'),
      toBeNull: () => holds(actual === null, 'to be null'),
      toBeUndefined: () => holds(actual === undefined, 'to be undefined'),
      toBeDefined: () => holds(actual !== undefined, 'to be defined'),
    }
  }
  return {
    beforeEach,
    afterEach,
    it: (name: string, run: (context: unknown) => unknown) =>
      it(name, async () => {
        let made = 0
        let wanted: number | null = null
        const counted = (actual: unknown) => (made++, matchersOf(actual))
        await run({ expect: Object.assign(counted, { assertions: (count: number) => (wanted = count) }) })
        if (wanted !== null) expect(made).to.equal(wanted)
      }),
  }
}

describe('KeyvRondo', () => {
  let running: RunningRondo
  before(async () => (running = await startRondo()))
  after(() => running.stop())

  const storeOf = (options?: KeyvRondoOptions) => new KeyvRondo(running.rondo, options)
  const keyvOf = (namespace: string, options?: KeyvRondoOptions) =>
    new Keyv({ store: storeOf(options), namespace, throwOnErrors: true })
  const http = (method: string, path: string, body?: object) =>
    call(running.ports.socket, method, `/api/v1/keys${path}`, body ? { body } : {})

  for (const [name, suite] of [
    ['API', keyvApiTests],
    ['values', keyvValueTests],
    ['namespaces', keyvNamespaceTest],
    ['iterator', keyvIteratorTests],
  ] as const) {
    describe(`passes @keyv/test-suite: ${name}`, () => suite(vitestLike(), Keyv, () => storeOf()))
  }

  it('stores what every other client sees, with its TTL', async () => {
    const keyv = keyvOf('app')
    await keyv.set('user:1', { name: 'Ada' }, 60_000)
    const { value, ttl } = (await http('GET', '/app:user:1')).json()
    expect(JSON.parse(String(value))).to.have.deep.property('value', { name: 'Ada' })
    expect(ttl).to.be.within(59, 60)
    await http('DELETE', '/app:user:1')
    expect(await keyv.get('user:1')).to.equal(undefined)
  })

  it('uses its database and its level', async () => {
    const keyv = keyvOf('app', { database: 3, consistency: 'all' })
    await keyv.set('k', 'in 3')
    expect(await keyvOf('app').get('k')).to.equal(undefined)
    expect((await http('GET', '/app:k?db=3')).status).to.equal(200)
    expect(await keyv.has('k')).to.equal(true)
    const found: unknown[] = []
    for await (const entry of keyv.iterator!('app')) found.push(entry)
    expect(found).to.deep.equal([['k', 'in 3']])
    await keyv.clear()
    expect(await keyv.has('k')).to.equal(false)
    for (const database of [-1, 16, 1.5, NaN]) {
      expect(() => storeOf({ database })).to.throw(RangeError, 'databases 0 to 15')
    }
  })

  it('does many at once: all that were asked for, in their order', async () => {
    const keyv = keyvOf('many')
    const names = Array.from({ length: 600 }, (_, i) => `k${i}`)
    const set = await keyv.setMany(names.map((key, i) => ({ key, value: i })))
    expect(set).to.deep.equal(names.map(() => true))
    expect(await keyv.getMany(['none', ...names])).to.deep.equal([undefined, ...names.keys()])
    expect(await keyv.hasMany(['k7', 'none'])).to.deep.equal([true, false])
    const found = new Set<unknown>()
    for await (const [key] of keyv.iterator!('many') as AsyncGenerator<[string, unknown]>) found.add(key)
    expect(found.size).to.equal(names.length)
    expect(await keyv.deleteMany(['k0', 'none'])).to.equal(true)
    await keyv.clear()
    expect(await keyv.getMany(names)).to.deep.equal(names.map(() => undefined))
  })

  it('clears its namespace alone, whatever is in its name, and needs one', async () => {
    const [star, other] = [keyvOf('a*[b]?\\'), keyvOf('axxb')]
    await star.set('k', 1)
    await other.set('k', 1)
    await star.clear()
    expect([await star.has('k'), await other.has('k')]).to.deep.equal([false, true])
    const bare = new Keyv({ store: storeOf(), namespace: '', throwOnErrors: true })
    const refused = await bare.clear().then(String, (error: Error) => error.message)
    expect(refused).to.contain('every key of database 0').and.contain('clearsDatabase')
    expect(await other.has('k')).to.equal(true)
    const own = new Keyv({
      store: storeOf({ database: 5, clearsDatabase: true }),
      namespace: '',
      throwOnErrors: true,
    })
    await own.set('k', 1)
    await own.clear()
    expect([await own.has('k'), await other.has('k')]).to.deep.equal([false, true])
  })

  it('clears what was there when it began: what is set meanwhile stays', async () => {
    const keyv = keyvOf('busy')
    await keyv.setMany(['a', 'b', 'c'].map((key) => ({ key, value: 'old' })))
    const cleared = keyv.clear()
    await keyv.set('b', 'new')
    await cleared
    expect(await keyv.getMany(['a', 'b', 'c'])).to.deep.equal([undefined, 'new', undefined])
  })

  it('says what is wrong, and stores nothing', async () => {
    const store = storeOf()
    const rejected = (promise: Promise<unknown>) => promise.then(String, (error: Error) => error.message)
    expect(await rejected(store.set('k'.repeat(2000), 'v'))).to.contain('MAX_KEY_BYTES')
    expect(await rejected(store.set('__rondo:node', 'v'))).to.contain('__rondo:')
    expect(await rejected(store.set('k', 'v'.repeat(9 * 1024 * 1024)))).to.contain('MAX_VALUE_BYTES')
    expect(await rejected(store.set('k', { a: 1 } as never))).to.contain('must be a text')
    expect(await rejected(store.set('k\ud800', 'v'))).to.contain('surrogate')
    for (const ttl of [-1, NaN, Infinity, '5' as never]) {
      expect(await rejected(store.set('k', 'v', ttl)), String(ttl)).to.contain('TTL')
    }
    expect(await store.has('k')).to.equal(false)
    const bytes = { base64: '/w==' }
    for (const command of [
      ['LPUSH', 'odd:list', 'x'],
      ['SET', 'odd:bytes', bytes],
      ['SET', { base64: Buffer.from('odd:\xff', 'latin1').toString('base64') }, 'x'],
      ['SET', 'odd:text', 'x'],
    ]) {
      await call(running.ports.socket, 'POST', '/api/v1/command', { body: { command } })
    }
    expect(await rejected(store.get('odd:list'))).to.contain('hash, set, sorted set, list or stream')
    expect(await rejected(store.get('odd:bytes'))).to.contain('no text')
    const odd: unknown[] = []
    for await (const entry of store.iterator('odd')) odd.push(entry)
    expect(odd).to.deep.equal([['odd:text', 'x']])
    const errors: Error[] = []
    store.on('error', (error: Error) => errors.push(error))
    const set = await store.setMany([
      { key: 'good', value: 'v' },
      { key: '__rondo:node', value: 'v' },
    ])
    expect(set).to.deep.equal([true, false])
    expect(errors.map(({ message }) => message).join()).to.contain('__rondo:')
  })

  it('rejects where no node can be reached, instead of finding nothing', async () => {
    const nodes: MapNode[] = []
    const other = await startRondo(
      {},
      {
        nodes: (settings) =>
          ['a', 'b', 'c'].map((id) => {
            const node = new MapNode(new MapServer(settings.clock), { ...settings, id })
            nodes.push(node)
            return { node }
          }),
      },
    )
    try {
      const keyv = new Keyv({ store: new KeyvRondo(other.rondo), throwOnErrors: true })
      await keyv.set('k', 1)
      for (const node of nodes) {
        node.get = (_key, done) => setImmediate(() => done.onFailure(node, NOT_CONNECTED))
        node.peek = (_key, _part, done) => setImmediate(() => done.onFailure(node, NOT_CONNECTED))
      }
      for (const ask of [() => keyv.get('k'), () => keyv.getMany(['k', 'l']), () => keyv.has('k')]) {
        const said = await ask().then(String, (error: { code?: string }) => error.code)
        expect(said).to.equal('UNAVAILABLE')
      }
    } finally {
      await other.stop()
    }
  })
})
