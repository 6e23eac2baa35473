// The gRPC entry of the program as its user runs it: with workers, with a port that is taken, and without.
import { createServer, type AddressInfo } from 'node:net'
import { readdirSync, readFileSync } from 'node:fs'
import { expect } from 'chai'
import { GrpcClient } from '../../support/grpc.ts'
import { Program } from '../../support/program.ts'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'

describe('the program and its gRPC server', function () {
  this.timeout(20_000)
  const squatter = createServer()
  let redis: RedisServer
  let taken: number
  // Side by side: most of it is their start.
  let programs: Record<'withWorkers' | 'withTakenPort' | 'without', Program>
  before(async () => {
    redis = await startRedis()
    await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve))
    taken = (squatter.address() as AddressInfo).port
    programs = {
      withWorkers: new Program({ GRPC_PORT: '0', WORKERS: '2', REDIS_URLS: redis.url }),
      withTakenPort: new Program({ GRPC_PORT: String(taken) }),
      without: new Program({}),
    }
  })
  after(async () => {
    squatter.close()
    await Promise.all(Object.values(programs).map((program) => program.stop()))
    await redis.stop()
  })

  it('says where it listens; workers share the port', async () => {
    const { withWorkers } = programs
    const find = () => /to any gRPC client on \S+:(\d+)$/m.exec(withWorkers.stdout)?.[1]
    const port = Number(await withWorkers.until(find))
    const clients = Array.from({ length: 4 }, () => new GrpcClient(port))
    const has = (client: GrpcClient) => client.call('rondo.v1.Cache/Has', { key: Buffer.from('k') })
    const answers = await Promise.all(clients.map(has))
    expect(answers.map(({ status }) => status)).to.deep.equal(Array(4).fill('OK'))
    for (const client of clients) client.close()
  })

  it('is off unless GRPC_PORT is set', async () => {
    await programs.without.listening()
    expect(programs.without.stdout).not.to.include('gRPC')
  })

  it('a GRPC_PORT that is taken is named', async () => {
    const { ended, stderr, stdout } = await programs.withTakenPort.ended.then(() => programs.withTakenPort)
    expect(await ended).to.deep.equal({ code: 1, signal: null })
    expect(stderr).to.match(new RegExp(`^Port 127\\.0\\.0\\.1:${taken} is taken.*GRPC_PORT`, 'm'))
    expect(stdout).to.equal('')
  })

  it('only one file loads packages of gRPC, when the server listens', () => {
    const src = new URL('../../../src/', import.meta.url)
    const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.ts'),
    )
    const loading = (pattern: RegExp) =>
      files.filter((name) => pattern.test(readFileSync(new URL(name, src), 'utf8')))
    expect(loading(/^import (?!type )[^']*'(@grpc|protobufjs)/m)).to.deep.equal([])
    expect(loading(/import\('@grpc/)).to.deep.equal(['servers/grpc/library.ts'])
  })
})
