/** What scripts promise beside the replies of Redis: they are atomic everywhere, and hold up nobody but each other. */
import { createHash } from 'node:crypto'
import { expect } from 'chai'
import type { Code, Scripts } from '../../../src/commands/scripts/api.ts'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { SMALL, withSizes } from '../../support/large.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'
import { until } from '../../support/rondo-under-test.ts'

const INCREASE = 'local n = redis.call("get", KEYS[1]) or 0 redis.call("set", KEYS[1], n + 1) return n + 1'
const ENDLESS = 'while true do end'
/** Backtracks for longer than anybody waits. */
const PATTERN = 'return string.find(string.rep("a", 30000), string.rep("a-", 8) .. "b")'
const BUSY = '-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n'

/** Script calls of pings meanwhile. */
const PINGS = 9

/** The thread is there from then on. */
async function warmUp(client: RawResp): Promise<void> {
  await until('a script runs', async () => (await client.ask('EVAL', 'return 1', '0')) === ':1\r\n', 20_000)
}

describe('scripts at two coordinators', function () {
  this.timeout(60_000)
  let servers: RedisServer[] = []
  let coordinators: RunningRondo[] = []
  before(async () => {
    servers = await Promise.all([1, 2, 3].map(() => startRedis()))
    const env = {
      REDIS_URLS: servers.map(({ port }) => `127.0.0.1:${port}`).join(','),
      REQUEST_TIMEOUT_MS: '20000',
      NODE_TIMEOUT_MS: '5000',
    }
    coordinators = [await startRondo(env), await startRondo(env)]
  })
  after(async () => {
    await Promise.all(coordinators.map((one) => one.stop()))
    await Promise.all(servers.map((server) => server.stop()))
  })
  const clientsAt = async (level: string) => {
    const ports = coordinators.flatMap(({ rondo }) => [rondo.respServer.port, rondo.respServer.port])
    const clients = await Promise.all(ports.map((port) => RawResp.open(port)))
    for (const client of clients) expect(await client.ask('RONDO', 'CONSISTENCY', level)).to.equal('+OK\r\n')
    return clients
  }

  for (const level of ['one', 'quorum', 'all']) {
    it(`count exactly on one key at ${level}, whoever runs them`, async () => {
      const clients = await clientsAt(level)
      const seen: string[] = []
      await Promise.all(
        clients.map(async (client) => {
          for (let i = 0; i < 40; i++) seen.push(await client.ask('EVAL', INCREASE, '1', `count:${level}`))
        }),
      )
      const counted = seen.filter((reply) => reply.startsWith(':'))
      // Each saw a number of its own: none was lost, and none was read twice.
      expect(new Set(counted).size).to.equal(counted.length)
      // A competitor may take a replica away that had to confirm.
      const others = seen.filter((reply) => !reply.startsWith(':'))
      const may = level !== 'one' ? /^-(UNKNOWN|NOREPLICAS|TRYAGAIN) / : /^$/
      expect(others.filter((reply) => !may.test(reply))).to.deep.equal([])
      const held = Number((await clients[0]!.ask('GET', `count:${level}`)).split('\r\n')[1])
      const unknown = others.filter((reply) => reply.startsWith('-UNKNOWN'))
      expect(held).to.be.within(counted.length, counted.length + unknown.length)
      for (const client of clients) client.close()
    })
  }

  it('know each other’s scripts and functions', async () => {
    const [one, , other] = await clientsAt('quorum')
    const sha = (await one!.ask('SCRIPT', 'LOAD', 'return "loaded elsewhere"')).split('\r\n')[1]!
    expect(await other!.ask('EVALSHA', sha, '0')).to.equal('$16\r\nloaded elsewhere\r\n')
    const library = '#!lua name=far\nredis.register_function("far", function() return "here" end)'
    expect(await one!.ask('FUNCTION', 'LOAD', library)).to.equal('$3\r\nfar\r\n')
    expect(await other!.ask('FCALL', 'far', '0')).to.equal('$4\r\nhere\r\n')
    const changed = library.replace('"here"', '"changed"')
    expect(await one!.ask('FUNCTION', 'LOAD', 'REPLACE', changed)).to.equal('$3\r\nfar\r\n')
    await until(
      'the other has it',
      async () => (await other!.ask('FCALL', 'far', '0')).includes('changed'),
      3000,
    )
    const dump = await one!.ask('FUNCTION', 'DUMP')
    const bytes = Buffer.from(dump, 'latin1').subarray(dump.indexOf('\n') + 1, -2)
    expect(await other!.ask('FUNCTION', 'FLUSH')).to.equal('+OK\r\n')
    expect(await one!.ask('FUNCTION', 'LIST')).to.equal('*0\r\n')
    expect(await one!.ask('FUNCTION', 'RESTORE', bytes)).to.equal('+OK\r\n')
    expect(await one!.ask('FCALL', 'far', '0')).to.equal('$7\r\nchanged\r\n')
    for (const client of [one!, other!]) client.close()
  })
})

describe('what is asked of scripts at one coordinator', function () {
  this.timeout(60_000)
  let servers: RedisServer[] = []
  let coordinators: RunningRondo[] = []
  let [here, there, beside]: RawResp[] = []
  before(async () => {
    servers = await Promise.all([1, 2, 3].map(() => startRedis()))
    const env = {
      REDIS_URLS: servers.map(({ port }) => `127.0.0.1:${port}`).join(','),
      REQUEST_TIMEOUT_MS: '8000',
      SCRIPT_TIME_LIMIT_MS: '100',
    }
    coordinators = [await startRondo(env), await startRondo(env)]
    const places = [0, 1, 1].map((i) => coordinators[i]!.rondo.respServer.port)
    ;[here, there, beside] = await Promise.all(places.map((port) => RawResp.open(port)))
    for (const client of [here!, there!]) await warmUp(client)
  })
  after(async () => {
    for (const client of [here!, there!, beside!]) client.close()
    await Promise.all(coordinators.map((one) => one.stop()))
    await Promise.all(servers.map((server) => server.stop()))
  })

  it('SCRIPT KILL ends what runs at another one', async () => {
    expect(await here!.ask('SCRIPT', 'KILL')).to.match(/^-NOTBUSY/)
    const killed = there!.ask('EVAL', ENDLESS, '0')
    await until('it is busy', async () => (await beside!.ask('EVAL', 'return 1', '0')) === BUSY, 5000)
    expect(await here!.ask('FUNCTION', 'KILL')).to.match(/^-NOTBUSY/)
    expect(await here!.ask('SCRIPT', 'KILL')).to.equal('+OK\r\n')
    expect(await killed).to.match(/^-ERR Script killed by user/)
    await warmUp(beside!)
  })

  it('SCRIPT FLUSH makes all of them forget', async () => {
    expect(await there!.ask('EVAL', 'return "known"', '0')).to.equal('$5\r\nknown\r\n')
    const sha = (await here!.ask('SCRIPT', 'LOAD', 'return "stored"')).split('\r\n')[1]!
    expect(await there!.ask('EVALSHA', sha, '0')).to.equal('$6\r\nstored\r\n')
    const known = createHash('sha1').update('return "known"').digest('hex')
    expect(await there!.ask('EVALSHA', known, '0')).to.equal('$5\r\nknown\r\n')
    expect(await here!.ask('SCRIPT', 'FLUSH')).to.equal('+OK\r\n')
    for (const one of [known, sha]) expect(await there!.ask('EVALSHA', one, '0')).to.match(/^-NOSCRIPT/)
  })

  it('FLUSHALL leaves scripts and functions, as in Redis', async () => {
    const sha = (await here!.ask('SCRIPT', 'LOAD', 'return "kept"')).split('\r\n')[1]!
    const library = '#!lua name=kept\nredis.register_function("kept", function() return "too" end)'
    await here!.ask('FUNCTION', 'LOAD', library)
    await here!.ask('SET', 'user', '1')
    expect(await here!.ask('FLUSHALL')).to.equal('+OK\r\n')
    expect(await there!.ask('GET', 'user')).to.equal('$-1\r\n')
    // This one has never seen it.
    expect(await there!.ask('EVALSHA', sha, '0')).to.equal('$4\r\nkept\r\n')
    expect(await there!.ask('FUNCTION', 'LIST')).to.contain('kept')
    expect(await there!.ask('FCALL', 'kept', '0')).to.equal('$3\r\ntoo\r\n')
    expect(await here!.ask('SCRIPT', 'FLUSH')).to.equal('+OK\r\n')
    expect(await here!.ask('FLUSHALL')).to.equal('+OK\r\n')
    expect(await there!.ask('EVALSHA', sha, '0'), 'no flush brings it back').to.match(/^-NOSCRIPT/)
  })

  it('needs every replica at all, and a majority of them at quorum', async () => {
    const increase = ['EVAL', 'return redis.call("incr", "{lost}" .. ARGV[1])', '0', 'n'] as const
    const levelled = async (level: string) => {
      expect(await here!.ask('RONDO', 'CONSISTENCY', level)).to.equal('+OK\r\n')
      return here!.ask(...increase)
    }
    expect(await levelled('all')).to.equal(':1\r\n')
    await servers.pop()!.stop()
    expect(await levelled('all')).to.match(/^-(NOREPLICAS|UNKNOWN) /)
    expect(await levelled('quorum')).to.match(/^:[23]\r\n$/)
  })

  it('needs one replica at one, also to find the script or the function', async () => {
    const library = '#!lua name=left\nredis.register_function("left", function() return "found" end)'
    expect(await there!.ask('FUNCTION', 'LOAD', 'REPLACE', library)).to.equal('$4\r\nleft\r\n')
    const sha = (await there!.ask('SCRIPT', 'LOAD', 'return "found"')).split('\r\n')[1]!
    await servers.pop()!.stop()
    const found = ['$5\r\nfound\r\n', '$5\r\nfound\r\n', '-NOSCRIPT']
    const unknown = 'f'.repeat(40)
    const answers = async (level: string) => {
      expect(await here!.ask('RONDO', 'CONSISTENCY', level)).to.equal('+OK\r\n')
      const all = [
        await here!.ask('FCALL', 'left', '0'),
        await here!.ask('EVALSHA', sha, '0'),
        await here!.ask('EVALSHA', unknown, '0'),
      ]
      return all.map((answer) => /^-[A-Z]+/.exec(answer)?.[0] ?? answer)
    }
    const areTooFew = async () => (await answers('quorum')).every((answer) => answer === '-NOREPLICAS')
    await until('both servers are missed', areTooFew, 10_000)
    expect(await answers('one')).to.deep.equal(found)
  })
})

describe('a script that does not end', function () {
  this.timeout(60_000)
  let running: RunningRondo
  let [first, second]: RawResp[] = []
  before(async () => {
    running = await startRondo({ REQUEST_TIMEOUT_MS: '8000', SCRIPT_TIME_LIMIT_MS: '100' })
    ;[first, second] = await Promise.all([1, 2].map(() => RawResp.open(running.rondo.respServer.port)))
    await warmUp(first!)
  })
  after(async () => {
    first!.close()
    second!.close()
    await running.stop()
  })

  for (const [what, script] of Object.entries({ loop: ENDLESS, pattern: PATTERN })) {
    it(`as a ${what} holds up other scripts only, and SCRIPT KILL ends it`, async () => {
      expect(await second!.ask('SET', 'other', 'value')).to.equal('+OK\r\n')
      const killed = first!.ask('EVAL', script, '1', 'mine')
      await until('it is busy', async () => (await second!.ask('EVAL', 'return 1', '0')) === BUSY, 5000)
      expect(await second!.ask('GET', 'other')).to.equal('$5\r\nvalue\r\n')
      expect(await second!.ask('SET', 'another', 'value')).to.equal('+OK\r\n')
      expect(await second!.ask('FUNCTION', 'KILL')).to.equal(BUSY)
      expect(await second!.ask('SCRIPT', 'KILL')).to.equal('+OK\r\n')
      expect(await killed).to.match(
        /^-ERR Script killed by user with SCRIPT KILL\.\.\. script: [0-9a-f]{40}, on @user_script/,
      )
      expect(await second!.ask('SCRIPT', 'KILL')).to.match(/^-NOTBUSY/)
      await warmUp(second!)
      const view = running.rondo.cluster.members.map(({ health }) => health.state)
      expect(view).to.deep.equal(['up', 'up', 'up', 'up'])
    })
  }

  for (const [what, script] of Object.entries({ loop: ENDLESS, pattern: PATTERN })) {
    it(`as a ${what} holds up nobody more if it was short so far`, async () => {
      const counts = `if ARGV[1] == "long" then ${script} end return redis.call("incr", KEYS[1])`
      const count = async (arg: string) => first!.ask('EVAL', counts, '1', `short:${what}`, arg)
      const sha = createHash('sha1').update(counts).digest('hex')
      const code: Code = { sha, source: Buffer.from(counts), functionName: null }
      let counted = 0
      const { scripts } = running.rondo as unknown as { readonly scripts: Scripts }
      while (!scripts.isShort(code)) expect(await count('')).to.equal(`:${++counted}\r\n`)
      for (let i = 0; i < 10; i++) expect(await count('')).to.equal(`:${++counted}\r\n`)
      expect(scripts.isShort(code)).to.equal(true)
      const killed = first!.ask('EVAL', counts, '1', `short:${what}`, 'long')
      await until('it is busy', async () => (await second!.ask('EVAL', 'return 1', '0')) === BUSY, 5000)
      expect(scripts.isShort(code)).to.equal(false)
      expect(await second!.ask('SET', 'another', 'value')).to.equal('+OK\r\n')
      expect(await second!.ask('SCRIPT', 'KILL')).to.equal('+OK\r\n')
      expect(await killed).to.match(/^-ERR Script killed/)
      await warmUp(second!)
      expect(await count('')).to.equal(`:${counted + 1}\r\n`)
    })
  }

  it('has changed nothing when it is ended', async () => {
    await first!.ask('SET', 'kept', '1')
    const killed = first!.ask('EVAL', `redis.call("set", KEYS[1], 2) ${ENDLESS}`, '1', 'kept')
    await until('it is busy', async () => (await second!.ask('EVAL', 'return 1', '0')) === BUSY, 5000)
    await second!.ask('SCRIPT', 'KILL')
    expect(await killed).to.match(/^-ERR Script killed/)
    expect(await second!.ask('GET', 'kept')).to.equal('$1\r\n1\r\n')
    await warmUp(second!)
  })
})

describe('a script without an end that nobody kills', function () {
  this.timeout(60_000)
  it('ends when its command has to be answered', async () => {
    const running = await startRondo({ REQUEST_TIMEOUT_MS: '2000', SCRIPT_TIME_LIMIT_MS: '100' })
    const client = await RawResp.open(running.rondo.respServer.port)
    await warmUp(client)
    const startedAtMs = performance.now()
    expect(await client.ask('EVAL', ENDLESS, '0')).to.match(
      /^-ERR Script has run for too long \(REQUEST_TIMEOUT_MS\)/,
    )
    expect(performance.now() - startedAtMs).to.be.below(4000)
    await warmUp(client)
    client.close()
    await running.stop()
  })
})

describe('the keys of a script', function () {
  this.timeout(60_000)
  let running: RunningRondo
  let client: RawResp
  before(async () => {
    running = await startRondo({
      REQUEST_TIMEOUT_MS: '8000',
      MAX_VALUE_BYTES: '64KiB',
      MAX_BATCH_KEYS: '50',
      MAX_REPLY_BYTES: '2MiB',
    })
    client = await RawResp.open(running.rondo.respServer.port)
    await warmUp(client)
  })
  after(async () => {
    client.close()
    await running.stop()
  })

  it('are read together, however many the script names by itself', async () => {
    const servers = await Promise.all([1, 2, 3].map(() => startRedis()))
    const own = await startRondo({
      REDIS_URLS: servers.map(({ port }) => `127.0.0.1:${port}`).join(','),
      REQUEST_TIMEOUT_MS: '8000',
    })
    const asker = await RawResp.open(own.rondo.respServer.port)
    const nodes = await Promise.all(servers.map(({ port }) => RawResp.open(port)))
    /** Each batch ends with the marker. */
    const asked = async (command: 'get' | 'evalsha') => {
      const calls = new RegExp(`cmdstat_${command}:calls=(\\d+)`)
      const stats = await Promise.all(nodes.map((node) => node.ask('INFO', 'commandstats')))
      return stats.reduce((sum, text) => sum + Number(calls.exec(text)?.[1] ?? 0), 0)
    }
    await asker.ask('RONDO', 'CONSISTENCY', 'quorum')
    const increases =
      'for i = 1, 30 do redis.call("incr", KEYS[1] .. i) end return redis.call("get", KEYS[1] .. 30)'
    await until(
      'it runs',
      async () => (await asker.ask('EVAL', increases, '1', '{t}:')).startsWith('$'),
      20_000,
    )
    const before = [await asked('get'), await asked('evalsha')] as const
    expect(await asker.ask('EVAL', increases, '1', '{t}:')).to.equal('$1\r\n2\r\n')
    // They are read once, in one batch or two; then come the two rounds of one transaction, whose scripts GET as well: one
    // call for each round and node. The rest is for pings.
    expect((await asked('get')) - before[0]).to.be.within(31, 104 + 25)
    expect((await asked('evalsha')) - before[1]).to.be.within(4, 2 * 3 + PINGS)

    // A collection in parts is no obstacle to finding them: they are read by then, and the transaction begins with them.
    await withSizes(SMALL, async () => {
      const events = '{t}:events'
      for (let i = 0; i < 20; i++) await asker.ask('XADD', events, '*', 'event', String(i))
      await asker.ask('SET', '{t}:which', '7')
      const chain =
        'return redis.call("xlen", KEYS[1]) + redis.call("incr", "{t}:n" .. (redis.call("get", "{t}:which") or "0"))'
      for (let i = 0; i < 3; i++) await asker.ask('EVAL', chain, '1', events)
      const before = await asked('evalsha')
      for (let n = 4; n <= 13; n++)
        expect(await asker.ask('EVAL', chain, '1', events)).to.equal(`:${20 + n}\r\n`)
      expect((await asked('evalsha')) - before).to.be.within(10 * 4, 10 * 2 * 3 + PINGS)
    })
    for (const client of [asker, ...nodes]) client.close()
    await own.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })

  it('are found one after the other, where one names the next', async () => {
    const length = 12
    for (let i = 0; i < length; i++) await client.ask('SET', `{chain}${i}`, `{chain}${i + 1}`)
    const follow =
      'local key, steps = ARGV[1], 0 repeat local next = redis.call("get", key) if next then key = next steps = steps + 1 end until not next redis.call("set", key .. ":end", steps) return steps'
    for (let i = 0; i < 3; i++)
      expect(await client.ask('EVAL', follow, '0', '{chain}0')).to.equal(`:${length}\r\n`)
    expect(await client.ask('GET', `{chain}${length}:end`)).to.equal('$2\r\n12\r\n')
  })

  it('are right for scripts that go on for ever without them', async () => {
    await client.ask('SET', '{wait}', 'go')
    for (const waits of [
      'while redis.call("get", "{wait}") ~= "go" do end return 1',
      'local go = redis.call("get", "{wait}") while not go do end return 1',
    ])
      for (let i = 0; i < 2; i++) expect(await client.ask('EVAL', waits, '0')).to.equal(':1\r\n')
    // What it would name if the first were absent is of another replica set, and not needed.
    const far =
      'if redis.call("get", "{wait}") then return 1 end return redis.call("get", "{elsewhere}" .. ARGV[1])'
    for (let i = 0; i < 8; i++) expect(await client.ask('EVAL', far, '0', String(i))).to.equal(':1\r\n')
  })

  it('may be named by the script itself, if they have the hash tag of the others', async () => {
    const script =
      'for i = 1, 5 do redis.call("rpush", KEYS[1] .. i, i) end return redis.call("llen", KEYS[1] .. 5)'
    expect(await client.ask('EVAL', script, '1', '{cart}')).to.equal(':1\r\n')
    expect(await client.ask('LRANGE', '{cart}3', '0', '-1')).to.equal('*1\r\n$1\r\n3\r\n')
  })

  it('must share a replica set; the error names the hash tag to use, and nothing is changed', async () => {
    const script = 'redis.call("set", KEYS[1], 1) for i = 1, 9 do redis.pcall("set", "other" .. i, 1) end'
    const reply = await client.ask('EVAL', script, '1', '{cart}:x')
    expect(reply).to.match(
      /^-CROSSSLOT .*'other\d' is not of the replica set of '\{cart\}:x'.*hash tag.*Nothing was changed/,
    )
    expect(await client.ask('EXISTS', '{cart}:x')).to.equal(':0\r\n')
    const declared = await client.ask(
      'EVAL',
      'return 1',
      '9',
      ...Array.from({ length: 9 }, (_, i) => `k${i}`),
    )
    expect(declared).to.match(/^-CROSSSLOT .*'k\d' is not of the replica set of 'k0'.*as in '\{k0\}'/)
    await client.ask('SELECT', '1')
    expect(await client.ask('EVAL', script, '1', '{cart}:x')).to.match(
      /is not of the replica set of '\{cart\}:x'/,
    )
    await client.ask('SELECT', '0')
  })

  it('are not too many, not too long and not Rondo’s own', async () => {
    const names = Array.from({ length: 51 }, (_, i) => `{t}${i}`)
    expect(await client.ask('EVAL', 'return 1', '51', ...names)).to.match(
      /^-ERR at most 50 keys .*MAX_BATCH_KEYS/,
    )
    const makes = 'for i = 1, 501 do redis.call("set", "{t}" .. i, i) end'
    expect(await client.ask('EVAL', makes, '0')).to.match(/^-ERR .* at most 500 keys .*MAX_BATCH_KEYS/)
    expect(await client.ask('EXISTS', '{t}1')).to.equal(':0\r\n')
    expect(await client.ask('EVAL', 'return redis.call("get", "__rondo:node")', '0')).to.match(
      /^-ERR Keys that begin/,
    )
    expect(await client.ask('EVAL', 'return 1', '1', '__rondo:node')).to.match(/^-ERR Keys that begin/)
    const long = 'return redis.pcall("set", string.rep("x", 5000), 1).err'
    expect(await client.ask('EVAL', long, '0')).to.match(/MAX_KEY_BYTES/)
  })

  it('hold what they held when a script has used too much', async () => {
    await client.ask('SET', 'kept', '1')
    const attacks = {
      'not enough memory': 'redis.call("set", KEYS[1], 2) local s = "x" while true do s = s .. s end',
      'stack overflow': 'local function f() return 1 + f() end redis.call("set", KEYS[1], 2) return f()',
      MAX_VALUE_BYTES: 'return redis.call("set", KEYS[1], string.rep("x", 70000))',
    }
    for (const [why, script] of Object.entries(attacks)) {
      const reply = await client.ask('EVAL', script, '1', 'kept')
      expect(reply, script).to.match(/^-/)
      expect(reply, script).to.include(why)
      await warmUp(client)
    }
    expect(await client.ask('GETRANGE', 'kept', '0', '5')).to.match(/^\$1\r\n[12]/)
  })

  it('are watched as any others', async () => {
    const other = await RawResp.open(running.rondo.respServer.port)
    await client.ask('WATCH', 'seen')
    expect(await other.ask('EVAL', 'return redis.call("set", KEYS[1], 1)', '1', 'seen')).to.equal('+OK\r\n')
    await client.ask('MULTI')
    await client.ask('EVAL', 'return redis.call("set", KEYS[1], 2)', '1', 'seen')
    expect(await client.ask('EXEC')).to.equal('*-1\r\n')
    expect(await client.ask('GET', 'seen')).to.equal('$1\r\n1\r\n')
    other.close()
  })

  it('are told to their channels when they are stored', async () => {
    const other = await RawResp.open(running.rondo.respServer.port)
    await other.ask('SUBSCRIBE', 'news')
    const script = 'redis.call("set", KEYS[1], "new") return redis.call("publish", "news", "changed")'
    expect(await client.ask('EVAL', script, '1', 'page')).to.equal(':0\r\n')
    expect(await other.reply()).to.equal('*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$7\r\nchanged\r\n')
    other.close()
  })

  const overHttp = async (...command: (string | number)[]) => {
    const response = await fetch(`http://127.0.0.1:${running.ports.socket}/api/v1/command`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ command }),
    })
    return (await response.json()) as { result?: unknown }
  }

  it('run over HTTP too', async () => {
    expect(await overHttp('EVAL', INCREASE, 1, 'http')).to.deep.equal({ result: 1 })
  })

  it('answer over HTTP whatever Lua has', async () => {
    const shapes =
      '{true, false, {big_number = "123456789012345678901"}, {double = 1.5}, {map = {a = 1}}, {set = {x = true}}, {ok = "so"}}'
    expect(await overHttp('EVAL', `redis.setresp(3) return ${shapes}`, 0)).to.deep.equal({
      result: [1, 0, '123456789012345678901', '1.5', ['a', 1], ['x'], 'so'],
    })
  })

  it('and what is nested too deeply, or too long, is an error, and not the end of the process', async () => {
    for (const shape of ['a[1] = a', 'a.map = a', 'a.set = {[a] = true}', 'a.err = string.rep("x", 3e6)']) {
      const script = `redis.setresp(3) local a = {} ${shape} return a`
      const reply = await client.ask('EVAL', script, '0')
      expect(reply, shape).to.match(/ERR reached lua stack limit|MAX_REPLY_BYTES/)
      if (!shape.includes('err'))
        expect(JSON.stringify(await overHttp('EVAL', script, 0))).to.include('stack limit')
    }
    const wide = 'local t = {} for i = 1, 5000 do t[i] = {i, "x"} end return t'
    expect((await overHttp('EVAL', wide, 0)).result).to.have.length(5000)
    expect(await client.ask('EVAL', wide, '0')).to.match(/^\*5000\r\n[^]*\*2\r\n:5000\r\n\$1\r\nx\r\n$/)
  })

  it('publish so much, and no more', async () => {
    const publishing = (message: string) =>
      `local n = 0 for i = 1, 20000 do if type(redis.pcall("publish", "c", ${message})) == "table" then break end n = i end return n`
    expect(await client.ask('EVAL', publishing('""'), '0')).to.equal(':10000\r\n')
    expect(await client.ask('EVAL', `local x = string.rep("x", 1e6) ${publishing('x')}`, '0')).to.equal(
      ':2\r\n',
    )
  })
})
