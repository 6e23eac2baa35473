// The gRPC entry of the program as its user runs it: alone, with workers, and without.
import { createServer, type AddressInfo } from 'node:net'
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { GrpcClient } from '../../support/grpc.ts'
import { Program } from '../../support/program.ts'

const HAS = 'rondo.v1.Cache/Has'

describe('the program and its gRPC server', function () {
  this.timeout(20_000)
  const started: Program[] = []
  const run = (env: Record<string, string>) => {
    const program = new Program(env)
    started.push(program)
    return program
  }
  afterEach(() => Promise.all(started.splice(0).map((program) => program.stop())))
  const grpcPort = async (program: Program) =>
    Number(await program.until(() => /to any gRPC client on \S+:(\d+)$/m.exec(program.stdout)?.[1]))

  it('is off unless GRPC_PORT is set, and then nothing of it is in memory', async () => {
    const [without, with_] = [run({}), run({ GRPC_PORT: '0' })]
    const client = new GrpcClient(await grpcPort(with_))
    expect((await client.call(HAS, { key: Buffer.from('k') })).status).to.equal('OK')
    client.close()
    await without.listening()
    expect(without.stdout).not.to.include('gRPC')
    const files = ({ pid }: Program) => readFileSync(`/proc/${pid}/maps`, 'utf8')
    expect(files(without)).not.to.include('grpc')
  })

  it('workers share its port', async () => {
    const program = run({ GRPC_PORT: '0', WORKERS: '2', MEMORY_NODES: '1' })
    const port = await grpcPort(program)
    const clients = Array.from({ length: 4 }, () => new GrpcClient(port))
    const answers = await Promise.all(clients.map((client) => client.call(HAS, { key: Buffer.from('k') })))
    expect(answers.map(({ status }) => status)).to.deep.equal(Array(4).fill('OK'))
    for (const client of clients) client.close()
  })

  it('a GRPC_PORT that is taken is named', async () => {
    const squatter = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => squatter.once('listening', resolve))
    const { port } = squatter.address() as AddressInfo
    try {
      const program = run({ GRPC_PORT: String(port) })
      expect(await program.ended).to.deep.equal({ code: 1, signal: null })
      expect(program.stderr).to.match(new RegExp(`^Port 127\\.0\\.0\\.1:${port} is taken.*GRPC_PORT`, 'm'))
      expect(program.stdout).to.equal('')
    } finally {
      squatter.close()
    }
  })
})
