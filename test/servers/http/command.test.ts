// POST /api/v1/command: the commands of the Redis protocol, and what keeps them in bounds.
import { expect } from 'chai'
import { expectProblem } from '../../support/problem.ts'
import { NEEDS_CONNECTION } from '../../support/key-lines.ts'
import { call, type RawAnswer } from '../../support/raw-http.ts'
import { HTTP_ENTRIES, type RunningRondo, startRondo } from '../../support/rondo.ts'

/** On keys or channels, and what they ask for needs a connection. */
const CONNECTIONS = ['watch', 'ssubscribe', 'sunsubscribe']

for (const entry of HTTP_ENTRIES) {
  describe(`POST /api/v1/command (${entry})`, () => {
    let running: RunningRondo
    before(async () => (running = await startRondo({ MAX_VALUE_BYTES: '1MiB', MAX_BATCH_BYTES: '4MiB' })))
    after(() => running.stop())

    const send = (command: unknown, query = ''): Promise<RawAnswer> =>
      call(running.ports[entry], 'POST', `/api/v1/command${query}`, { body: { command } as object })
    const result = async (command: unknown, query = '') => {
      const answer = await send(command, query)
      expect(answer.status, answer.text).to.equal(200)
      return answer.json().result
    }

    it('answers as the Redis protocol does, in JSON', async () => {
      expect(await result(['SET', 'k', 'v', 'EX', 100])).to.equal('OK')
      expect(await result(['get', 'k'])).to.equal('v')
      expect(await result(['TTL', 'k'])).to.be.within(99, 100)
      expect(await result(['GET', 'none'])).to.equal(null)
      expect(await result(['MSET', 'a', 1, 'b', 2.5, 'c', true])).to.equal('OK')
      expect(await result(['MGET', 'a', 'none', 'b', 'c'])).to.deep.equal(['1', null, '2.5', 'true'])
      expect(await result(['DEL', 'a', 'b', 'none'])).to.equal(2)
      expect(await result(['SCAN', 0, 'MATCH', 'k', 'COUNT', 1000])).to.deep.equal(['0', ['k']])
      expect(await result(['PING'])).to.equal('PONG')
      expect(await result(['OBJECT', 'ENCODING', 'k'])).to.equal('embstr')
      expect(await result(['LCS', 'k', 'k', 'IDX'])).to.deep.equal([
        'matches',
        [
          [
            [0, 0],
            [0, 0],
          ],
        ],
        'len',
        1,
      ])
    })

    it('offers every command on keys, however new, but WATCH, SSUBSCRIBE and those that wait', () => {
      const { respServer } = running.rondo
      for (const { name, firstKey, arity } of respServer.commands) {
        if (firstKey === 0 || CONNECTIONS.includes(name) || NEEDS_CONNECTION.test(name)) continue
        const args = Array.from({ length: Math.abs(arity) }, (_, i) => Buffer.from(i === 0 ? name : '1'))
        expect(respServer.offered(args), name).to.have.property('execute')
      }
    })

    it('refuses what needs a connection, and does nothing', async () => {
      for (const command of [
        ['MULTI'],
        ['EXEC'],
        ['WATCH', 'k'],
        ['AUTH', 'secret'],
        ['HELLO', '3'],
        ['SELECT', '1'],
        ['CLIENT', 'LIST'],
        ['CLIENT', 'KILL', 'TYPE', 'normal'],
        ['RONDO', 'STATUS'],
        ['RONDO', 'LEAVE', 'a'],
        ['CONFIG', 'GET', '*'],
        ['ACL', 'LIST'],
        ['SLOWLOG', 'RESET'],
        ['INFO'],
        ['QUIT'],
        ['RESET'],
        ['OBJECT', 'HELP'],
        ['SUBSCRIBE', 'news'],
        ['BLPOP', 'k', '0'],
        ['PSUBSCRIBE', 'n*'],
        ['SSUBSCRIBE', 'news'],
        ['UNSUBSCRIBE'],
        ['PUNSUBSCRIBE'],
        ['SUNSUBSCRIBE'],
      ]) {
        const answer = await send(command)
        expectProblem(answer, 400, 'BAD_REQUEST', command.join(' '))
        expect(answer.json().error).to.match(/connection/)
      }
      const unknown = await send(['SWAPDB', '0', '1'])
      expectProblem(unknown, 400, 'BAD_REQUEST')
      expect(unknown.json().error).to.contain("unknown command 'SWAPDB'")
    })

    it('answers errors with their code and status, in the words of Redis', async () => {
      await result(['SET', 'text', 'x'])
      const refused = await send(['INCR', 'text'])
      expectProblem(refused, 409, 'NOT_INTEGER')
      expect(refused.json()).to.include({
        error: 'ERR value is not an integer or out of range',
        outcome: 'not-applied',
      })
      const wrong = await send(['GET'])
      expectProblem(wrong, 400, 'BAD_REQUEST')
      expect(wrong.json().error).to.equal("ERR wrong number of arguments for 'get' command")
      expectProblem(await send(['SET', 'k', 'v', 'EX']), 400, 'BAD_REQUEST')
      expectProblem(await send(['SET', 'k'.repeat(2000), 'v']), 414, 'KEY_TOO_LONG')
      expectProblem(await send(['SET', 'k', 'v'.repeat(1024 * 1024 + 1)]), 413, 'VALUE_TOO_LARGE')
      expectProblem(await send(['SET', 'k', 'v'.repeat(5 * 1024 * 1024)]), 413, 'VALUE_TOO_LARGE')
      const keys = Array.from({ length: 40 }, (_, i) => [`m${i}`, 'v']).flat()
      expectProblem(await send(['MSETNX', ...keys]), 409, 'CROSS_REPLICA_SET')
    })

    it('takes and gives bytes as base64, and integers beyond 2^53 as texts', async () => {
      const base64 = Buffer.from([0, 0xff, 0x80, 10]).toString('base64')
      expect(await result(['SET', { base64 }, { base64 }])).to.equal('OK')
      expect(await result(['GET', { base64 }])).to.deep.equal({ base64 })
      expect(await result(['MGET', { base64 }, 'k'])).to.deep.equal([{ base64 }, 'v'])
      expect(await result(['SET', 'n', '9007199254740992'])).to.equal('OK')
      expect(await result(['INCR', 'n'])).to.equal('9007199254740993')
      const long = Buffer.alloc(300_000, 0xe9)
      await result(['SET', 'long', { base64: long.toString('base64') }])
      expect(await result(['GET', 'long'])).to.deep.equal({ base64: long.toString('base64') })
      const text = 'é"\n€😀'.repeat(30_000)
      await result(['SET', 'long', text])
      expect(await result(['GET', 'long'])).to.equal(text)
    })

    it('uses the database and the level of the query', async () => {
      expect(await result(['SET', 'd', 'in 3'], '?db=3&consistency=all')).to.equal('OK')
      expect(await result(['GET', 'd'])).to.equal(null)
      expect(await result(['GET', 'd'], '?db=3&consistency=quorum')).to.equal('in 3')
      expectProblem(await send(['GET', 'd'], '?db=99'), 400, 'BAD_REQUEST')
      expectProblem(await send(['GET', 'd'], '?consistency=maybe'), 400, 'BAD_REQUEST')
      expectProblem(await send(['GET', 'd'], '?token=x'), 400, 'BAD_REQUEST')
    })

    it('refuses bad input, and changes nothing', async () => {
      await result(['SET', 'k', 'v'])
      for (const command of [
        undefined,
        null,
        'SET k w',
        {},
        [],
        [[]],
        ['SET', 'k', null],
        ['SET', 'k', ['w']],
        ['SET', 'k', { base64: 'w' }],
        ['SET', 'k', { base64: 'dw==', also: 1 }],
        ['SET', 'k', { BASE64: 'dw==' }],
        ['SET', 'k', 2 ** 53],
        ['SET', 'k', -1e300],
        ['SET', 'k', '\ud800'],
      ]) {
        expectProblem(await send(command), 400, 'BAD_REQUEST', JSON.stringify(command))
      }
      const port = running.ports[entry]
      for (const [type, body] of [
        ['text/plain', '{"command":["SET","k","w"]}'],
        ['application/x-www-form-urlencoded', '{"command":["SET","k","w"]}'],
        ['application/json', '{"command":["SET","k","w"],"db":1}'],
        ['application/json', '{"command":["SET","k",1e400]}'],
        ['application/json', '[["SET","k","w"]]'],
        ['application/json', `{"command":${'['.repeat(40_000)}`],
        ['application/json', '{"__proto__":["SET","k","w"]}'],
      ] as const) {
        const answer = await call(port, 'POST', '/api/v1/command', {
          body: Buffer.from(body),
          headers: { 'Content-Type': type },
        })
        expectProblem(answer, 400, 'BAD_REQUEST', `${type} ${body.slice(0, 50)}`)
      }
      expect(await result(['GET', 'k'])).to.equal('v')
    })
  })
}

describe('POST /api/v1/command with restrictions', () => {
  it('refuses what works on all keys while ALLOW_DANGEROUS_COMMANDS is false', async () => {
    const running = await startRondo({ ALLOW_DANGEROUS_COMMANDS: 'false', COMPAT_APIS: 'upstash' })
    try {
      const send = (...command: string[]) =>
        call(running.ports.socket, 'POST', '/api/v1/command', { body: { command } })
      await send('SET', 'k', 'v')
      for (const command of [['FLUSHALL'], ['FLUSHDB', 'ASYNC'], ['KEYS', '*']]) {
        const answer = await send(...command)
        expectProblem(answer, 400, 'BAD_REQUEST')
        expect(answer.json().error).to.contain('ALLOW_DANGEROUS_COMMANDS')
        const upstash = await call(running.ports.socket, 'POST', '/upstash', { body: command })
        expectProblem(upstash, 400, 'BAD_REQUEST')
        expect(upstash.json().error).to.contain('ALLOW_DANGEROUS_COMMANDS')
        for (const path of ['/upstash/pipeline', '/upstash/multi-exec']) {
          const { text } = await call(running.ports.socket, 'POST', path, { body: [command] })
          expect(text, path).to.match(/ALLOW_DANGEROUS_COMMANDS|not allowed inside a transaction/)
        }
      }
      expect((await send('GET', 'k')).json()).to.deep.equal({ result: 'v' })
    } finally {
      await running.stop()
    }
  })

  it('flushes where it is allowed, and counts the keys that it looks up', async () => {
    const running = await startRondo({ ALLOW_DANGEROUS_COMMANDS: 'true' })
    try {
      const send = async (...command: string[]) =>
        (await call(running.ports.socket, 'POST', '/api/v1/command', { body: { command } })).json().result
      await send('MSET', 'a', '1', 'b', '2')
      expect(await send('FLUSHALL')).to.equal('OK')
      expect(await send('DBSIZE')).to.equal(0)
      await send('SET', 'a', '1')
      await send('MGET', 'a', 'b', 'c')
      const { text } = await call(running.ports.socket, 'GET', '/metrics')
      expect(text)
        .to.include('rondo_cache_hits_total{protocol="http",method="mget"} 1\n')
        .and.include('rondo_cache_misses_total{protocol="http",method="mget"} 2\n')
    } finally {
      await running.stop()
    }
  })
})
