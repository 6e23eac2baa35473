/**
 * Whoever gets what a command hands over, an element or a message, finds what the same client stored before it, although the
 * keys are on different nodes and nobody waits for replies.
 */
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { HANDS_OVER } from '../../../src/commands/hand-over.ts'
import { STEPS } from '../../../src/commands/specs.ts'
import { KEYS, LINES, STATES } from '../../support/change-lines.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const asked = (lines: readonly string[]) => Buffer.concat(lines.map((line) => command(...line.split(' '))))

describe('handing over', function () {
  this.timeout(30_000)
  let running: RunningRondo
  let client: RawResp
  let other: RawResp
  before(async () => (running = await startRondo({ COMPAT_APIS: 'upstash' })))
  after(() => running.stop())
  beforeEach(async () => {
    const { port } = running.rondo.respServer
    client = await RawResp.open(port)
    other = await RawResp.open(port)
  })
  afterEach(() => {
    client.close()
    other.close()
  })

  describe('is what adds to a list, a sorted set or a stream', () => {
    const states: Readonly<Record<string, readonly string[]>> = {
      ...STATES,
      'a stream': ['XADD {t}b 1-1 f 5', 'XADD {t}a 1-1 f 5'],
    }
    const keys = [...KEYS, '{t}new', '{t}nosuch']
    /** With which they add something here, other than by their usual lines. */
    const more = [
      ...['COPY {t}a {t}new', 'RENAMENX {t}a {t}new', 'MOVE {t}a 1', 'RESTORE {t}new 0 dump'],
      ...['ZINTERSTORE {t}new 1 {t}a', 'ZRANGESTORE {t}new {t}a 0 -1'],
      'GEORADIUS {t}a 0 0 20000 km STORE {t}new',
      'GEORADIUSBYMEMBER {t}a f 20000 km STORE {t}new',
      'GEOSEARCHSTORE {t}new {t}a FROMLONLAT 0 0 BYRADIUS 20000 km',
      ...['EVAL', 'EVALSHA', 'FCALL'].map((name) => `${name} push 1 {t}new`),
    ]
    const SCRIPT = `return redis.call('LPUSH', KEYS[1], 'x')`
    const LIBRARY = `#!lua name=own\nredis.register_function('push', function(KEYS) ${SCRIPT} end)`
    /** What stands for something else in the lines. */
    const meant = new Map<string, Buffer>()
    before(async () => {
      const opened = await RawResp.open(running.rondo.respServer.port)
      await opened.ask('FUNCTION', 'LOAD', LIBRARY)
      const sha = (await opened.ask('SCRIPT', 'LOAD', SCRIPT)).split('\r\n')[1]!
      await opened.ask('RPUSH', 'list', 'x')
      const dump = await opened.ask('DUMP', 'list')
      meant.set('dump', Buffer.from(dump.slice(dump.indexOf('\n') + 1, -2), 'latin1'))
      meant.set('EVAL push', Buffer.from(SCRIPT))
      meant.set('EVALSHA push', Buffer.from(sha))
      opened.close()
    })
    const argumentsOf = (line: string) => {
      const [name, ...args] = line.split(' ')
      return [name!, ...args.map((arg) => meant.get(arg) ?? meant.get(`${name} ${arg}`) ?? arg)]
    }
    const writing = Object.values(LINES)
      .flat()
      .flatMap((line) => line.split(';'))
      .filter((line) => !STEPS[line.split(' ')[0]!.toLowerCase()]?.flags.includes('readonly'))
    const sizes = keys.flatMap((key) => [`LLEN ${key}`, `ZCARD ${key}`, `XLEN ${key}`])
    const found = new Set<string>()
    const sizesNow = async () => {
      client.send(asked([...sizes, 'SELECT 1', ...sizes, 'SELECT 0']))
      const replies = await client.replies(2 * sizes.length + 2)
      return replies.map((reply) => (reply.startsWith(':') ? Number(reply.slice(1)) : 0))
    }

    for (const state of ['absent, both', 'a set', 'a sorted set', 'a list', 'a stream']) {
      it(`${state}`, async () => {
        for (const line of [...writing, ...more]) {
          const before = ['SELECT 1', 'DEL {t}a', 'SELECT 0', `DEL ${keys.join(' ')}`, ...states[state]!]
          client.send(asked(before))
          await client.replies(before.length)
          const was = await sizesNow()
          await client.ask(...argumentsOf(line))
          const is = await sizesNow()
          if (is.some((size, i) => size > was[i]!)) found.add(line.split(' ')[0]!.toLowerCase())
        }
      })
    }

    it('and nothing else', () => {
      expect([...found, 'publish', 'spublish'].sort()).to.deep.equal([...HANDS_OVER].sort())
    })
  })

  describe('begins when all that was sent before it is stored', () => {
    /** Runs `during` while the nodes do not take what is stored under these keys. */
    async function holdingUp(keys: readonly string[], begin: () => void, during: () => Promise<unknown>) {
      const held: (() => void)[] = []
      let notify = () => undefined as void
      const some = new Promise<void>((resolve) => (notify = resolve))
      const nodes = running.rondo.cluster.members.map(({ node }) => node)
      const own = nodes.map((node) => node.store.bind(node))
      for (const [i, node] of nodes.entries()) {
        node.store = (key, ...args) => {
          if (!keys.includes(key.toString())) return own[i]!(key, ...args)
          held.push(() => own[i]!(key, ...args))
          notify()
        }
      }
      begin()
      await some
      // A command that was not held up would be carried out meanwhile, as all of these are.
      for (let i = 0; i < 20; i++) await other.ask('LPUSH', `meanwhile:${i}`, 'x')
      await during()
      for (const [i, node] of nodes.entries()) node.store = own[i]!
      for (const release of held) release()
    }

    const jobs = Array.from({ length: 20 }, (_, i) => `job:${i}`)
    const stored = jobs.map((key) => `SET ${key} work`)
    const nothing = '$-1\r\n'
    const handed = `$3\r\nall\r\n`
    beforeEach(() => client.ask('DEL', 'queue', ...jobs))

    const ways: Readonly<Record<string, readonly string[]>> = {
      'in a pipeline': [...stored, 'LPUSH queue all'],
      'in a pipeline, as the last of several': [...stored, 'RPUSH other:queue x', 'LPUSH queue all'],
      'in a transaction': ['MULTI', ...stored, 'LPUSH queue all', 'EXEC'],
      'in a transaction, before what belongs to it': ['MULTI', 'LPUSH queue all', ...stored, 'EXEC'],
      'in a transaction behind a pipeline': [...stored, 'MULTI', 'LPUSH queue all', 'EXEC'],
      'in a script': [...stored, `EVAL return(redis.call('LPUSH',KEYS[1],'all')) 1 queue`],
    }
    for (const [way, lines] of Object.entries(ways)) {
      it(way, async () => {
        await holdingUp(
          jobs,
          () => client.send(asked(lines)),
          async () => expect(await other.ask('LPOP', 'queue')).to.equal(nothing),
        )
        const replies = await client.replies(lines.length)
        expect(replies.filter((reply) => reply.startsWith('-'))).to.deep.equal([])
        expect(await other.ask('LPOP', 'queue')).to.equal(handed)
        for (const job of jobs) expect(await other.ask('GET', job)).to.equal('$4\r\nwork\r\n')
      })
    }

    it('in a pipeline over HTTP', async () => {
      const body = JSON.stringify([['LPUSH', 'queue', 'all'], ...stored.map((line) => line.split(' '))])
      const url = `http://127.0.0.1:${running.ports.socket}/upstash/pipeline`
      const headers = { 'Content-Type': 'application/json' }
      let response: Promise<Response> | null = null
      await holdingUp(
        jobs,
        () => void (response = fetch(url, { method: 'POST', body, headers })),
        async () => expect(await other.ask('LPOP', 'queue')).to.equal(nothing),
      )
      expect((await response!).status).to.equal(200)
      expect(await other.ask('LPOP', 'queue')).to.equal(handed)
    })

    it('as a message', async () => {
      const subscriber = new Redis(running.rondo.respServer.port, '127.0.0.1')
      const messages: string[] = []
      subscriber.on('message', (_channel, message: string) => messages.push(message))
      await subscriber.subscribe('news')
      await holdingUp(
        jobs,
        () => client.send(asked([...stored, 'PUBLISH news all'])),
        async () => {
          await other.ask('PUBLISH', 'news', 'before')
          expect(messages).to.deep.equal(['before'])
        },
      )
      await client.replies(stored.length + 1)
      await other.ask('PUBLISH', 'news', 'after')
      expect(messages).to.deep.equal(['before', 'all', 'after'])
      subscriber.disconnect()
    })

    it('but not one that hands over to another key: pipelines of pushes run side by side', async () => {
      const pushes = Array.from({ length: 50 }, (_, i) => `LPUSH side:${i} x`)
      await holdingUp(
        ['side:0'],
        () => client.send(asked(pushes)),
        async () => {
          for (let i = 1; i < 50; i++) expect(await other.ask('LLEN', `side:${i}`)).to.equal(':1\r\n')
        },
      )
      expect(new Set(await client.replies(50))).to.deep.equal(new Set([':1\r\n']))
    })
  })
})
