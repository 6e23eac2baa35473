// The Redis protocol entry of the program as its user runs it, alone and with workers.
import { createServer, type AddressInfo } from 'node:net'
import { expect } from 'chai'
import { Program } from '../../support/program.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RedisServer, startRedisCluster } from '../../../scripts/redis-server.ts'

describe('the program and its Redis protocol server', function () {
  this.timeout(20_000)
  const started: Program[] = []
  const run = (env: Record<string, string>) => {
    const program = new Program(env)
    started.push(program)
    return program
  }
  afterEach(() => Promise.all(started.splice(0).map((program) => program.stop())))
  let servers: RedisServer[]
  before(async () => (servers = await startRedisCluster(3)))
  after(() => Promise.all(servers.map((server) => server.stop())))
  const redisUrls = () => servers.map(({ url }) => url).join(',')

  const respPort = async (program: Program) =>
    Number(await program.until(() => /to any Redis client on \S+:(\d+)$/m.exec(program.stdout)?.[1]))
  const openMany = (port: number, count: number) =>
    Promise.all(Array.from({ length: count }, () => RawResp.open(port)))
  const processOf = async (client: RawResp) =>
    /process_id:(\d+)/.exec(await client.ask('INFO', 'server'))![1]!

  it('says where it listens; RESP_PORT=off opens none', async () => {
    const program = run({})
    const port = await respPort(program)
    expect(program.stdout).to.include(`redis-cli -p ${port}`)
    const client = await RawResp.open(port)
    expect(await client.ask('SET', 'a', 'b')).to.equal('+OK\r\n')
    client.close()
    const without = run({ RESP_PORT: 'off' })
    await without.listening()
    expect(without.stdout).not.to.include('Redis client')
  })

  it('two workers share the port and the data, and /metrics adds them up', async () => {
    const program = run({ REDIS_URLS: redisUrls(), WORKERS: '2' })
    const port = await respPort(program)
    const clients = await openMany(port, 8)
    const workers = new Set(await Promise.all(clients.map(processOf)))
    expect(workers.size).to.equal(2)
    expect(await clients[0]!.ask('SET', 'shared', 'value')).to.equal('+OK\r\n')
    for (const client of clients) {
      for (let i = 0; i < 5; i++) expect(await client.ask('GET', 'shared')).to.equal('$5\r\nvalue\r\n')
    }
    const http = await program.listening()
    const text = await (await fetch(`http://127.0.0.1:${http}/metrics`)).text()
    expect(text).to.match(/^rondo_resp_command_duration_seconds_count\{command="get"} 40$/m)
    expect(text).to.match(/^rondo_resp_command_duration_seconds_bucket\{le="\+Inf",command="get"} 40$/m)
    expect(text).to.match(/^rondo_resp_connections 8$/m)
    for (const client of clients) client.close()
  })

  for (const workers of ['1', '2']) {
    const who = workers === '1' ? 'one process' : 'two workers'
    it(`SIGTERM to ${who}: what was asked for is answered, then connections end`, async () => {
      const program = run({ REDIS_URLS: redisUrls(), WORKERS: workers, WRITE_CONSISTENCY: 'all' })
      const port = await respPort(program)
      const clients = await openMany(port, 6)
      for (const client of clients) await client.ask('PING')
      await servers[0]!.pause()
      for (const [i, client] of clients.entries()) {
        client.send(Buffer.concat([command('ECHO', 'read'), command('SET', `drain:${i}`, 'v')]))
        // What came with it is under way by then, and cannot end.
        expect(await client.reply()).to.equal('$4\r\nread\r\n')
      }
      program.signal('SIGTERM')
      servers[0]!.resume()
      for (const client of clients) expect(await client.rest()).to.equal('+OK\r\n')
      expect(await program.ended).to.deep.equal({ code: 0, signal: null })
    })

    it(`a RESP_PORT that is taken is named, with ${who}`, async () => {
      const squatter = createServer().listen(0, '127.0.0.1')
      await new Promise((resolve) => squatter.once('listening', resolve))
      const { port } = squatter.address() as AddressInfo
      try {
        const program = run({ REDIS_URLS: redisUrls(), RESP_PORT: String(port), WORKERS: workers })
        expect(await program.ended).to.deep.equal({ code: 1, signal: null })
        expect(program.stderr).to.match(new RegExp(`^Port 127\\.0\\.0\\.1:${port} is taken.*RESP_PORT`, 'm'))
        expect(program.stdout).to.equal('')
      } finally {
        squatter.close()
      }
    })
  }
})
