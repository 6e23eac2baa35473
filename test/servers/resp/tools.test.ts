// What monitoring tools ask: INFO with its usual fields, CLIENT LIST and KILL, SLOWLOG, ROLE, ACL, MODULE and LATENCY.
import { expect } from 'chai'
import { humanBytes, nodesMemory } from '../../../src/servers/resp/session/info.ts'
import { Rates } from '../../../src/servers/resp/rates.ts'
import { MAX_ENTRIES, SlowLog } from '../../../src/servers/resp/slow-log.ts'
import { usageOf } from '../../../src/commands/keys/object.ts'
import { startRedis } from '../../../scripts/redis-server.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

describe('what monitoring tools ask', () => {
  let running: RunningRondo
  let port: number
  let client: RawResp
  before(async () => {
    running = await startRondo()
    port = running.rondo.respServer.port
    client = await RawResp.open(port)
  })
  after(async () => {
    client.close()
    await running.stop()
  })

  const info = async (...sections: string[]) => fieldsOf(await client.ask('INFO', ...sections))

  describe('INFO', () => {
    it('has used_memory and maxmemory of the nodes, and the memory of the process under its own names', async () => {
      const fields = await info('memory')
      const { usedBytes, limitBytes } = nodesMemory(running.rondo.coordinator)
      expect(fields.used_memory).to.equal(String(usedBytes))
      expect(fields.maxmemory).to.equal(String(limitBytes))
      expect(fields.used_memory_human).to.equal(humanBytes(usedBytes))
      expect(fields.maxmemory_human).to.equal('256.00M')
      expect(Number(fields.rondo_process_rss)).to.be.above(10_000_000)
      expect(fields).not.to.have.property('used_memory_rss')
    })

    it('counts hits, misses, commands, errors and bytes', async () => {
      const before = await info('stats')
      await client.ask('SET', 'hit', '1')
      await client.ask('MGET', 'hit', 'miss', 'hit')
      await client.ask('GET', 'miss')
      await client.ask('GET')
      const after = await info('stats')
      const grown = (field: string) => Number(after[field]) - Number(before[field])
      expect(grown('keyspace_hits')).to.equal(2)
      expect(grown('keyspace_misses')).to.equal(2)
      expect(grown('total_commands_processed')).to.equal(5)
      expect(grown('total_error_replies')).to.equal(1)
      expect(grown('total_net_input_bytes')).to.be.above(100)
      expect(grown('total_net_output_bytes')).to.be.above(100)
      expect(after.evicted_keys).to.equal('0')
      expect(after).not.to.have.property('expired_keys')
      expect(Number(after.instantaneous_ops_per_sec)).to.be.above(0)
    })

    it('has commandstats only if asked for, in the form of Redis', async () => {
      await client.ask('GET', 'a')
      for (const sections of [[], ['default'], ['stats']]) {
        expect(await client.ask('INFO', ...sections)).not.to.include('cmdstat_')
      }
      for (const section of ['commandstats', 'all', 'everything']) {
        const { cmdstat_get: get, ...others } = await info(section)
        expect(get).to.match(/^calls=\d+,usec=\d+,usec_per_call=\d+\.\d\d,failed_calls=\d+$/)
        expect(Object.keys(others).filter((field) => field.includes('unknown'))).to.deep.equal([])
      }
    })

    it('has CPU, errors by code, no cluster, and nothing on disk', async () => {
      await client.ask('GET')
      const fields = await info()
      expect(fields.used_cpu_user).to.match(/^\d+\.\d{6}$/)
      expect(fields.errorstat_ERR).to.match(/^count=[1-9]\d*$/)
      expect(fields.cluster_enabled).to.equal('0')
      expect(fields.aof_enabled).to.equal('0')
    })
  })

  describe('CLIENT KILL', () => {
    const opened: RawResp[] = []
    const open = async (at = port) => {
      const one = await RawResp.open(at)
      opened.push(one)
      return one
    }
    afterEach(() => opened.splice(0).forEach((one) => one.close()))
    const idOf = async (one: RawResp) => (await one.ask('CLIENT', 'ID')).slice(1, -2)
    const closed = (one: RawResp) =>
      new Promise((resolve) => (one.socket.destroyed ? resolve(0) : one.socket.once('close', resolve)))

    it('closes the connection with an id, an address, or at an address of the server', async () => {
      const [first, second, third] = [await open(), await open(), await open()]
      expect(await client.ask('CLIENT', 'KILL', 'ID', await idOf(first))).to.equal(':1\r\n')
      await closed(first)
      const address = `127.0.0.1:${second.socket.localPort}`
      expect(await client.ask('CLIENT', 'KILL', 'ADDR', address, 'USER', 'default')).to.equal(':1\r\n')
      await closed(second)
      expect(await client.ask('CLIENT', 'KILL', 'LADDR', `127.0.0.1:${port}`)).to.equal(':1\r\n')
      await closed(third)
      expect(await client.ask('PING')).to.equal('+PONG\r\n')
    })

    it('all filters must match, and the own connection is closed only with SKIPME no, after its reply', async () => {
      const [one, other] = [await open(), await open()]
      const id = await idOf(one)
      expect(await one.ask('CLIENT', 'KILL', 'ID', id)).to.equal(':0\r\n')
      expect(await other.ask('CLIENT', 'KILL', 'ID', id, 'ADDR', '192.0.2.1:1')).to.equal(':0\r\n')
      expect(await one.ask('CLIENT', 'KILL', 'ID', id, 'SKIPME', 'no')).to.equal(':1\r\n')
      await closed(one)
      const address = `127.0.0.1:${other.socket.localPort}`
      expect(await other.ask('CLIENT', 'KILL', address)).to.equal('+OK\r\n')
      await closed(other)
    })

    it('what it does not have is refused with its reason', async () => {
      expect(await client.ask('CLIENT', 'PAUSE', '10')).to.equal(
        "-ERR unknown subcommand 'PAUSE'. Try CLIENT HELP. (a coordinator cannot hold back the clients of the others)\r\n",
      )
      expect(await client.ask('CLIENT', 'HELP'))
        .to.include('+KILL ')
        .and.include('+LIST ')
    })

    it('LIST has many connections, with their last command', async () => {
      const many = await Promise.all(Array.from({ length: 100 }, () => open()))
      await Promise.all(many.map((one, i) => one.ask('CLIENT', 'SETNAME', `many-${i}`)))
      await many[0]!.ask('GET', 'x')
      const told = await client.ask('CLIENT', 'LIST')
      expect(told.match(/ name=many-\d+ .* cmd=client user=default /g)).to.have.length(99)
      expect(told).to.match(/ name=many-0 .* idle=0 flags=N .* cmd=get /)
      await client.ask('MULTI')
      await client.ask('CLIENT', 'LIST')
      const inMulti = await client.ask('EXEC')
      expect(inMulti.match(/ name=many-/g)).to.have.length(100)
    })
  })

  describe('SLOWLOG', () => {
    it('has the name, time and client of a slow command, and none of its arguments', async () => {
      const { slowLog, stats } = running.rondo.respServer
      await client.ask('SLOWLOG', 'RESET')
      await client.ask('CLIENT', 'SETNAME', 'slow')
      const { store } = running.rondo.respServer
      const read = store.read.bind(store)
      store.read = (...args) => void setTimeout(() => read(...args), 15)
      await client.ask('GET', 'secret').finally(() => (store.read = read))
      await client.ask('PING')
      expect(slowLog.length).to.equal(1)
      const told = await client.ask('SLOWLOG', 'GET')
      expect(told).to.match(/^\*1\r\n\*6\r\n:\d+\r\n:\d+\r\n:\d{5,}\r\n\*1\r\n\$3\r\nget\r\n/)
      expect(told).to.include(`127.0.0.1:${client.socket.localPort}\r\n$4\r\nslow\r\n`)
      expect(told).not.to.include('secret')
      expect([...stats.rows()].map(({ command }) => command)).to.include('get')
    })

    it('keeps the latest, counts on, and gives the newest first', () => {
      const log = new SlowLog()
      const entry = { atSeconds: 1, us: 20_000, command: 'get', address: '', port: 1, clientName: '' }
      for (let i = 0; i < MAX_ENTRIES + 2; i++) log.add(entry)
      expect(log.length).to.equal(MAX_ENTRIES)
      expect(log.latest(2).map(([id]) => id)).to.deep.equal([MAX_ENTRIES + 1, MAX_ENTRIES])
      expect(log.latest(0)).to.deep.equal([])
      expect(log.latest(1000)).to.have.length(MAX_ENTRIES)
      log.reset()
      log.add(entry)
      expect(log.latest(5).map(([id]) => id)).to.deep.equal([MAX_ENTRIES + 2])
    })
  })

  it('LATENCY HISTOGRAM has the calls of a command, cumulative by duration', async () => {
    await client.ask('STRLEN', 'x')
    await client.ask('STRLEN', 'x')
    const told = await client.ask('LATENCY', 'HISTOGRAM', 'STRLEN', 'nosuch')
    expect(told).to.match(
      /^\*2\r\n\$6\r\nstrlen\r\n\*4\r\n\$5\r\ncalls\r\n:2\r\n\$14\r\nhistogram_usec\r\n\*[24]\r\n[\s\S]*:2\r\n$/,
    )
  })

  it('ACL tells of the users, and refuses others with the reason', async () => {
    expect(await client.ask('ACL', 'LIST')).to.include('user default on nopass ~* resetchannels +@all')
    expect(await client.ask('ACL', 'SETUSER', 'x')).to.match(
      /^-ERR unknown subcommand 'SETUSER'.*the users are default/,
    )
    expect(await client.ask('ACL', 'CAT')).to.include('$10\r\nconnection\r\n')
    expect(await client.ask('ACL', 'CAT', 'string')).to.equal(
      await client.ask('COMMAND', 'LIST', 'FILTERBY', 'ACLCAT', 'string'),
    )
  })

  it('OBJECT and MEMORY refuse what is not known, with the reason', async () => {
    for (const args of [
      ['OBJECT', 'FREQ', 'x'],
      ['OBJECT', 'IDLETIME', 'x'],
      ['MEMORY', 'STATS'],
    ]) {
      expect(await client.ask(...args)).to.match(/^-ERR unknown subcommand '.*HELP\. \(.*node/)
    }
    await client.ask('SET', 'sized', 'x'.repeat(100))
    expect(await client.ask('MEMORY', 'USAGE', 'sized')).to.equal(`:${usageOf(5, 100)}\r\n`)
    await client.ask('INCR', 'pipelined')
    client.send(
      'INCR pipelined\r\nOBJECT ENCODING pipelined\r\nDEL pipelined\r\nOBJECT ENCODING pipelined\r\n',
    )
    expect(await client.replies(4)).to.deep.equal([':2\r\n', '$3\r\nint\r\n', ':1\r\n', '$-1\r\n'])
  })

  it('MEMORY USAGE is about what a node says of its record', async () => {
    const redis = await startRedis()
    const one = await startRondo({ REDIS_URLS: `redis://127.0.0.1:${redis.port}`, REPLICATION_FACTOR: '1' })
    const [through, node] = await Promise.all([
      RawResp.open(one.rondo.respServer.port),
      RawResp.open(redis.port),
    ])
    for (const length of [0, 5, 13, 14, 60, 300, 5000, 100_000]) {
      await through.ask('SET', 'name', 'v'.repeat(length))
      const [told, its] = [
        await through.ask('MEMORY', 'USAGE', 'name'),
        await node.ask('MEMORY', 'USAGE', 'name'),
      ].map((reply) => Number(reply.slice(1, -2)))
      expect(told, `${length} bytes`).to.be.within(its! * 0.7, its! * 1.3)
    }
    through.close()
    node.close()
    await one.stop()
    await redis.stop()
  })

  it('sizes are written as Redis writes them', () => {
    const sizes = [0, 1023, 1024, 1536, 1024 ** 2, 2.5 * 1024 ** 3, 1024 ** 6]
    expect(sizes.map(humanBytes)).to.deep.equal([
      ...['0B', '1023B', '1.00K', '1.50K', '1.00M', '2.50G', '1024.00P'],
    ])
  })

  it('a rate is that of the last seconds, and forgets what was before', () => {
    const rates = new Rates(0)
    const totals = (commands: number) => ({ commands, inputBytes: commands * 10, outputBytes: 0 })
    expect(rates.perSecond(totals(0), 0).commands).to.equal(0)
    expect(rates.perSecond(totals(50), 500).commands).to.equal(100)
    for (let second = 1; second <= 3; second++) rates.sample(totals(1000), second * 1000)
    expect(rates.perSecond(totals(1000), 3500).commands).to.equal(0)
    expect(rates.perSecond(totals(1250), 3500)).to.deep.equal({
      ...{ commands: 100, inputBytes: 1000, outputBytes: 0 },
    })
  })
})

function fieldsOf(reply: string): Record<string, string> {
  const lines = reply.matchAll(/^(\w+):(.*)\r$/gm)
  return Object.fromEntries([...lines].map(([, field, value]) => [field!, value!] as const))
}
