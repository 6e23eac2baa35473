// MULTI and EXEC: how much a transaction may hold, what becomes of commands without keys in it, and what of one that
// cannot be one.
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const OK = '+OK\r\n'
const QUEUED = '+QUEUED\r\n'
const CROSSSLOT =
  "-CROSSSLOT Keys in request don't hash to the same slot (RESP_CROSS_SET_MULTI is refuse)\r\n"
const TOKEN = 'data-token-0123456789abcdef'
const bulk = (text: string) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`
const array = (items: string[]) => `*${items.length}\r\n${items.join('')}`

describe('transactions of the Redis protocol', function () {
  this.timeout(30_000)
  let running: RunningRondo
  let client: RawResp

  /** What EXEC answers to these. */
  const transaction = async (commands: (string | Buffer)[][], one = client) => {
    one.send(Buffer.concat([['MULTI'], ...commands, ['EXEC']].map((args) => command(...args))))
    const replies = await one.replies(commands.length + 2)
    expect(replies[0]).to.equal(OK)
    expect(new Set(replies.slice(1, -1))).to.deep.equal(new Set([QUEUED]))
    return replies.at(-1)!
  }
  const opened = (env: Record<string, string>) => {
    before(async () => (running = await startRondo(env)))
    after(() => running.stop())
    beforeEach(async () => {
      client = await RawResp.open(running.rondo.respServer.port)
      await client.ask('FLUSHALL')
    })
    afterEach(() => client.close())
  }
  const sets = (count: number, prefix: string) =>
    Array.from({ length: count }, (_, i) => ['SET', `${prefix}${i}`, String(i)])

  describe('over keys on the same replicas', () => {
    opened({ RESP_CROSS_SET_MULTI: 'refuse' })

    it('thousands of commands on a few keys are one', async () => {
      const increments = Array.from({ length: 10_000 }, () => ['INCR', '{t}n'])
      expect(await transaction(increments)).to.equal(array(increments.map((_, i) => `:${i + 1}\r\n`)))
      expect(await client.ask('GET', '{t}n')).to.equal(bulk('10000'))
    })

    it('MAX_BATCH_KEYS keys are one, and one more is refused: nothing is done then', async () => {
      expect(await transaction(sets(1000, '{t}'))).to.equal(array(Array.from({ length: 1000 }, () => OK)))
      await client.ask('FLUSHALL')
      expect(await transaction(sets(1001, '{t}'))).to.equal(
        '-ERR this transaction touches 1001 keys; at most 1000 are allowed (MAX_BATCH_KEYS)\r\n',
      )
      expect(await client.ask('DBSIZE')).to.equal(':0\r\n')
    })

    it('more than 100,000 commands, or more bytes than MAX_BATCH_BYTES, are refused while they are queued', async () => {
      client.send(
        Buffer.concat([command('MULTI'), ...Array.from({ length: 100_001 }, () => command('GET', 'a'))]),
      )
      const replies = await client.replies(100_002)
      expect(replies.at(-2)).to.equal(QUEUED)
      expect(replies.at(-1)).to.equal(
        '-ERR A transaction may have 100000 commands (MAX_TRANSACTION_COMMANDS).\r\n',
      )
      expect(await client.ask('EXEC')).to.match(/^-EXECABORT /)
    })

    it('one that would work on hundreds of megabytes of values, or answer with them, is refused, and nothing is done', async () => {
      await client.ask('SET', '{t}large', Buffer.alloc(1024 * 1024))
      for (const args of [
        ['GET', '{t}large'],
        ['BITCOUNT', '{t}large'],
        ['APPEND', '{t}large', ''],
      ]) {
        const commands = [['SET', '{t}b', '1'], ...Array.from({ length: 300 }, () => args)]
        expect(await transaction(commands)).to.match(
          /^-ERR The commands of this transaction would work on more/,
        )
      }
      expect(await client.ask('EXISTS', '{t}b')).to.equal(':0\r\n')
    })

    it('a command without keys is carried out once, in its place among the replies, and behind what changes keys', async () => {
      const reply = await transaction([
        ['DBSIZE'],
        ['SET', '{t}a', '1'],
        ['CLIENT', 'SETNAME', 'me'],
        ['RONDO', 'CONSISTENCY', 'quorum'],
        ['SET', '{t}b', '2'],
        ['RONDO', 'CONSISTENCY', 'WRITE'],
      ])
      expect(reply).to.equal(array([':2\r\n', OK, OK, OK, OK, bulk('quorum')]))
      expect(await client.ask('CLIENT', 'GETNAME')).to.equal(bulk('me'))
    })

    it('what is pipelined behind EXEC finds what its commands without keys have done', async () => {
      client.send('MULTI\r\nSET a 1\r\nCLIENT SETNAME behind\r\nEXEC\r\nCLIENT GETNAME\r\n')
      expect((await client.replies(5)).slice(3)).to.deep.equal([array([OK, OK]), bulk('behind')])
    })

    it('a watched key has changed: no command is carried out, also none without keys', async () => {
      await client.ask('WATCH', 'w')
      await client.ask('SET', 'w', 'changed')
      expect(
        await transaction([
          ['SET', 'w', '2'],
          ['CLIENT', 'SETNAME', 'never'],
        ]),
      ).to.equal('*-1\r\n')
      expect(await client.ask('CLIENT', 'GETNAME')).to.equal('$-1\r\n')
    })

    it('CLIENT REPLY SKIP in it leaves out the reply of one command behind EXEC', async () => {
      client.send('MULTI\r\nCLIENT REPLY SKIP\r\nGET a\r\nEXEC\r\nPING unseen\r\nPING seen\r\nPING too\r\n')
      const replies = await client.replies(6)
      expect(replies.slice(3)).to.deep.equal([array([OK, '$-1\r\n']), bulk('seen'), bulk('too')])
    })

    it('HELLO and FLUSHALL have no place in it', async () => {
      for (const name of ['HELLO', 'FLUSHALL']) {
        await client.ask('MULTI')
        expect(await client.ask(name)).to.equal(
          `-ERR Command '${name.toLowerCase()}' not allowed inside a transaction\r\n`,
        )
        expect(await client.ask('EXEC')).to.match(/^-EXECABORT /)
      }
    })
  })

  describe('WATCH', () => {
    /** Done before, between WATCH and EXEC, and whether EXEC carries out its commands then. `gone`: waits until it expired. */
    const CASES: readonly (readonly [string, string[], string[], boolean])[] = [
      ['absent', [], [], true],
      ['absent, and deleted as such', [], ['DEL w', 'GETDEL w', 'EXPIRE w 10'], true],
      ['absent, then set', [], ['SET w 1'], false],
      ['absent, then set and deleted', [], ['SET w 1', 'DEL w'], false],
      ['absent, then set and taken', [], ['SET w 1', 'GETDEL w'], false],
      ['absent, then set and expired', [], ['SET w 1 PX 1', 'gone'], false],
      ['absent, then set with a time in the past', [], ['SET w 1 PXAT 1'], false],
      ['deleted', ['SET w 1', 'DEL w'], [], true],
      ['deleted, then set and deleted', ['SET w 1', 'DEL w'], ['SET w 2', 'DEL w'], false],
      ['expired, then read', ['SET w 1 PX 1', 'gone'], ['GET w'], true],
      ['expired, then deleted', ['SET w 1 PX 1', 'gone'], ['DEL w'], true],
      ['expired, then set and deleted', ['SET w 1 PX 1', 'gone'], ['SET w 1', 'DEL w'], false],
      ['there', ['SET w 1'], ['GET w', 'SETNX w 2'], true],
      ['there, then expired', ['SET w 1 PX 200'], ['gone'], false],
      ['there, then set to the same', ['SET w 1'], ['SET w 1'], false],
      ['there, then deleted and set to the same', ['SET w 1'], ['DEL w', 'SET w 1'], false],
    ]
    let redis: RedisServer
    before(async () => (redis = await startRedis()))
    after(() => redis.stop())
    opened({})

    const carriesOut = async (one: RawResp, before: string[], between: string[]) => {
      const ask = async (line: string) => {
        if (line !== 'gone') await one.ask(...line.split(' '))
        else while ((await one.ask('EXISTS', 'w')) !== ':0\r\n');
      }
      for (const line of ['DEL w', ...before, 'WATCH w', ...between]) await ask(line)
      const reply = await transaction([['ECHO', 'done']], one)
      return reply !== '*-1\r\n'
    }

    for (const [what, before, between, carried] of CASES) {
      it(`on a key that is ${what}: EXEC ${carried ? 'does its work' : 'is stopped'}, as in Redis`, async () => {
        const their = await RawResp.open(redis.port)
        expect(await carriesOut(their, before, between), 'Redis').to.equal(carried)
        their.close()
        for (const level of ['ONE', 'QUORUM', 'ALL']) {
          await client.ask('RONDO', 'CONSISTENCY', level)
          expect(await carriesOut(client, before, between), level).to.equal(carried)
        }
      })
    }
  })

  for (const setting of ['unordered', 'refuse']) {
    describe(`behind WATCH, with RESP_CROSS_SET_MULTI=${setting}`, () => {
      opened({ RESP_CROSS_SET_MULTI: setting })
      const numbered = (count: number, prefix: string) =>
        Array.from({ length: count }, (_, i) => `${prefix}${i}`)

      it('clients that count up side by side lose no count: each EXEC counts, is stopped, or is refused', async () => {
        /** By what else is written: whether EXEC is one transaction. */
        const others = { none: [], 'of the same tag': numbered(4, '{n}'), elsewhere: numbered(4, 'other') }
        const clients = await Promise.all(
          Array.from({ length: 6 }, () => RawResp.open(running.rondo.respServer.port)),
        )
        for (const level of ['ONE', 'QUORUM']) {
          for (const [which, keys] of Object.entries(others)) {
            await client.ask('DEL', '{n}')
            const outcomes = { carried: 0, stopped: 0, refused: 0 }
            const count = async (one: RawResp) => {
              await one.ask('RONDO', 'CONSISTENCY', level)
              for (let i = 0; i < 20; i++) {
                await one.ask('WATCH', '{n}')
                const seen = Number(/\r\n(\d+)/.exec(await one.ask('GET', '{n}'))?.[1] ?? 0)
                const writes = keys.map((key) => ['SET', key, 'x'])
                const reply = await transaction([['SET', '{n}', String(seen + 1)], ...writes], one)
                if (reply.startsWith('-CROSSSLOT')) outcomes.refused++
                else if (reply === '*-1\r\n') outcomes.stopped++
                else outcomes.carried++
              }
            }
            await Promise.all(clients.map(count))
            const counted = outcomes.carried > 0 ? bulk(String(outcomes.carried)) : '$-1\r\n'
            expect(await client.ask('GET', '{n}'), `${level}, ${which}`).to.equal(counted)
            if (which === 'elsewhere') expect(outcomes).to.include({ carried: 0, stopped: 0 })
            else expect(outcomes.refused, `${level}, ${which}`).to.equal(0)
          }
        }
        for (const one of clients) one.close()
      })

      it('keys of several replica sets are refused, watched or not: the error names the hash tag, nothing is done', async () => {
        const writes = [...sets(20, 'k'), ['CLIENT', 'SETNAME', 'never']]
        /** What is watched, and what is done. */
        const cases: [string[], string[][]][] = [
          [['w'], writes],
          [numbered(20, 'w'), [['SET', 'w0', '1']]],
          [numbered(20, 'w'), [['GET', 'w0']]],
          [numbered(20, 'w'), []],
        ]
        for (const [watched, commands] of cases) {
          expect(await client.ask('WATCH', ...watched)).to.equal(OK)
          const all = [...commands, ['CLIENT', 'SETNAME', 'never']]
          expect(await transaction(all)).to.match(
            /^-CROSSSLOT Keys in request don't hash to the same slot \(.*WATCH.*\{hash tag\}.*\)\r\n$/,
          )
        }
        expect(await client.ask('DBSIZE')).to.equal(':0\r\n')
        expect(await client.ask('CLIENT', 'GETNAME')).to.equal('$-1\r\n')
        const next = await transaction([['SET', '{t}a', '1']])
        expect(next, 'EXEC ended the watch').to.equal(array([OK]))
      })

      it('more keys than MAX_BATCH_KEYS are refused, and nothing is done', async () => {
        await client.ask('WATCH', '{t}w')
        expect(await transaction(sets(1000, '{t}'))).to.equal(
          '-ERR this transaction touches 1001 keys; at most 1000 are allowed (MAX_BATCH_KEYS)\r\n',
        )
        expect(await client.ask('DBSIZE')).to.equal(':0\r\n')
      })

      it('UNWATCH ends it: keys all over the cluster are as without WATCH', async () => {
        await client.ask('WATCH', 'w')
        await client.ask('UNWATCH')
        const oks = array(Array.from({ length: 20 }, () => OK))
        expect(await transaction(sets(20, 'k'))).to.equal(setting === 'refuse' ? CROSSSLOT : oks)
      })
    })
  }

  describe('over keys on different replicas, where they are refused', () => {
    opened({ RESP_CROSS_SET_MULTI: 'refuse', DATA_TOKEN: TOKEN, ADMIN_TOKEN: `admin-${TOKEN}` })
    beforeEach(async () => {
      await client.ask('AUTH', TOKEN)
      await client.ask('FLUSHALL')
    })

    it('are refused, and no command acts, also none without keys', async () => {
      const commands = [...sets(20, 'k'), ['CLIENT', 'SETNAME', 'never'], ['AUTH', 'wrong']]
      for (let i = 0; i < 30; i++) expect(await transaction(commands)).to.equal(CROSSSLOT)
      expect(await client.ask('CLIENT', 'GETNAME')).to.equal('$-1\r\n')
      expect(running.rondo.tries.counts.resp, 'none of the wrong passwords was tried').to.equal(0)
      expect(await client.ask('DBSIZE')).to.equal(':0\r\n')
    })
  })

  describe('over keys on different replicas, as a rule', () => {
    opened({ DATA_TOKEN: TOKEN, ADMIN_TOKEN: `admin-${TOKEN}` })
    beforeEach(async () => {
      await client.ask('AUTH', TOKEN)
      await client.ask('FLUSHALL')
    })

    it('hold what a pipeline may hold: 20,000 commands on as many keys', async () => {
      const count = 20_000
      expect(await transaction(sets(count, 'k'))).to.equal(array(Array.from({ length: count }, () => OK)))
      expect(await client.ask('DBSIZE')).to.equal(`:${count}\r\n`)
      const gets = sets(count, 'k').map(([, key]) => ['GET', key!])
      expect(await transaction(gets)).to.equal(array(sets(count, 'k').map(([, , value]) => bulk(value!))))
    })

    it('so do those on too many keys of the same replicas', async () => {
      expect(await transaction(sets(1001, '{t}'))).to.equal(array(Array.from({ length: 1001 }, () => OK)))
      expect(await client.ask('DBSIZE')).to.equal(':1001\r\n')
    })

    it('commands on the same key keep their order', async () => {
      const commands: string[][] = []
      const replies: string[] = []
      for (let i = 0; i < 2000; i++) {
        const key = `k${i % 7}`
        const turn = Math.floor(i / 7)
        commands.push(i % 2 === 0 ? ['APPEND', key, 'x'] : ['STRLEN', key])
        const appended = Array.from({ length: turn + 1 }, (_, t) => (t * 7 + (i % 7)) % 2 === 0).filter(
          Boolean,
        )
        replies.push(`:${appended.length}\r\n`)
      }
      expect(await transaction(commands)).to.equal(array(replies))
    })

    it('a command without keys is carried out once, between those before and behind it', async () => {
      const reply = await transaction([
        ...sets(300, 'k'),
        ['DBSIZE'],
        ['DEL', 'k0', 'k1'],
        ['DBSIZE'],
        ['RONDO', 'CONSISTENCY', 'quorum'],
        ['GET', 'k2'],
      ])
      const oks = Array.from({ length: 300 }, () => OK)
      expect(reply).to.equal(array([...oks, ':300\r\n', ':2\r\n', ':298\r\n', OK, bulk('2')]))
    })

    it('a wrong password in it counts once', async () => {
      for (let i = 0; i < 19; i++) {
        const reply = await transaction([['AUTH', 'wrong'], ...sets(5, 'k')])
        expect(reply).to.match(/^\*6\r\n-WRONGPASS /)
      }
      expect(running.rondo.tries.counts.resp).to.equal(19)
    })

    it('a command that fails leaves the others alone', async () => {
      await client.ask('SET', 'text', 'x')
      expect(
        await transaction([
          ['SET', 'a', '1'],
          ['INCR', 'text'],
          ['SET', 'b'].concat('2'),
          ['SET', 'c', 'x', 'NX', 'XX'],
        ]),
      ).to.equal(array([OK, '-ERR value is not an integer or out of range\r\n', OK, '-ERR syntax error\r\n']))
    })

    it('answers are bounded: what is beyond is carried out, and says so', async () => {
      const redis = new Redis({ host: '127.0.0.1', port: running.rondo.respServer.port, password: TOKEN })
      await redis.set('large', Buffer.alloc(1024 * 1024))
      const all = redis.multi(Array.from({ length: 40 }, () => ['get', 'large']))
      const answers = (await all.set('k', 'v').incr('n').exec())!
      redis.disconnect()
      const leftOut = answers.filter(([error]) => error !== null)
      expect(leftOut).to.have.length.within(8, 10)
      for (const [error] of leftOut) {
        expect(error?.message).to.match(
          /^ERR The command was executed, but the replies of this transaction have/,
        )
      }
      expect(await client.ask('GET', 'n')).to.equal(bulk('1'))
    })
  })
})
