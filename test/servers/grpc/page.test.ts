// docs/GRPC.md: its commands, run in order, answer as the page says; its program runs; its table is the server's.
import { execFile } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { Client, credentials } from '@grpc/grpc-js'
import { loadSync, type MessageTypeDefinition } from '@grpc/proto-loader'
import { CODES } from '../../../src/core/error-codes.ts'
import { ERROR_CODES } from '../../../src/core/errors.ts'
import { GrpcClient, METHODS } from '../../support/grpc.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const page = readFileSync(new URL('../../../docs/GRPC.md', import.meta.url), 'utf8')
const shown = [...page.matchAll(/^```console\n([^]*?)^```$/gm)].flatMap(([, block]) =>
  block!
    .split(/^\$ /m)
    .slice(1)
    .map((part) => ({
      command: part.slice(0, part.indexOf('\n')),
      printed: part.slice(part.indexOf('\n') + 1),
    })),
)
const alike = (text: string) => text.replaceAll(/"[0-9a-f]{24}"/g, '"…"').trimEnd()

/** `INVALID_ARGUMENT` as grpcurl prints it. */
const inWords = (status: string) =>
  status
    .toLowerCase()
    .split('_')
    .map((word) => word[0]!.toUpperCase() + word.slice(1))
    .join('')

describe('docs/GRPC.md', () => {
  let running: RunningRondo
  let client: GrpcClient
  before(async () => {
    running = await startRondo({ GRPC_PORT: '0' })
    client = new GrpcClient(running.grpcPort)
  })
  after(async () => {
    client.close()
    await running.stop()
  })

  /** What grpcurl does with these arguments: the mapping of protobuf to JSON is that of the library. */
  async function grpcurl(line: string): Promise<string> {
    const words = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!)
    expect(words.slice(0, 2)).to.deep.equal(['grpcurl', '-plaintext'])
    const metadata: Record<string, string> = {}
    let data = '{}'
    while (words[2]!.startsWith('-')) {
      const [option, value] = words.splice(2, 2) as [string, string]
      if (option === '-d') data = value
      else metadata[value.split(': ')[0]!] = value.split(': ')[1]!
    }
    const [, , address, name] = words as [string, string, string, string]
    expect(address).to.equal('localhost:50051')
    if (name === 'list') return (await servicesOf(running.grpcPort)).join('\n')
    const request = fromJson(JSON.parse(data) as object, name)
    const { status, details, messages } = await client.call(name, request, { metadata })
    if (status !== 'OK') return `ERROR:\n  Code: ${inWords(status)}\n  Message: ${details}`
    return messages.map((message) => JSON.stringify(toJson(message), null, 2)).join('\n')
  }

  it('has commands only in its console blocks', () => {
    expect(shown.length).to.be.greaterThan(12)
    expect(shown).to.have.length([...page.matchAll(/^\$ grpcurl /gm)].length)
  })

  for (const { command, printed } of shown) {
    it(command, async () => {
      expect(alike(await grpcurl(command))).to.equal(alike(printed))
    })
  }

  it('has every method in its examples', () => {
    const names = new Set(shown.map(({ command }) => command.split(' ').at(-1)!))
    const others = [...METHODS.keys()].filter((name) => name.startsWith('rondo.') && !names.has(name))
    expect(others).to.deep.equal([])
  })

  it('its program prints the value', async () => {
    const [, text] = /^```js\n([^]*?)^```$/m.exec(page)!
    const file = fileURLToPath(new URL(`page-${process.pid}.tmp.mjs`, import.meta.url))
    const proto = fileURLToPath(
      new URL('../../../src/servers/grpc/proto/rondo/v1/cache.proto', import.meta.url),
    )
    const here = text!
      .replace("'cache.proto'", JSON.stringify(proto))
      .replace('50051', String(running.grpcPort))
    writeFileSync(file, here)
    try {
      const { stdout } = await promisify(execFile)(process.execPath, [file])
      expect(stdout).to.equal('Ada\n')
    } finally {
      rmSync(file)
    }
  })

  it('has every code of an error with its status', () => {
    const rows = [...page.matchAll(/^\| `([A-Z_]+)` \| (`.*`.*) \|$/gm)]
    const found = rows.flatMap(([, status, codes]) =>
      [...codes!.matchAll(/`([A-Z_]+)`/g)].map(([, code]) => `${code} ${status}`),
    )
    expect(found.sort()).to.deep.equal(ERROR_CODES.map((code) => `${code} ${CODES[code].grpc}`).sort())
  })
})

/** Fields that are bytes are base64 in JSON, and those without a value are left out. */
function toJson(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString('base64')
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([name, held]) => name !== 'outcome' && !isEmpty(held))
  return Object.fromEntries(entries.map(([name, held]) => [name, toJson(held)]))
}

function isEmpty(value: unknown): boolean {
  return (
    value === '' ||
    value === 0 ||
    value === false ||
    (Array.isArray(value) && value.length === 0) ||
    isNone(value)
  )
}

function isNone(value: unknown): boolean {
  return value === null || value === undefined || (Buffer.isBuffer(value) && value.length === 0)
}

/** All texts of rondo.v1 but cursors are bytes. */
function fromJson(value: object, method: string): object {
  if (!method.startsWith('rondo.')) return value
  return JSON.parse(JSON.stringify(value), (name, held: unknown) =>
    typeof held === 'string' && name !== 'cursor' ? Buffer.from(held, 'base64') : held,
  ) as object
}

/** What the reflection service lists. */
async function servicesOf(port: number): Promise<string[]> {
  const folder = new URL('../../../node_modules/@grpc/reflection/build/proto/', import.meta.url)
  const loaded = loadSync('grpc/reflection/v1/reflection.proto', { includeDirs: [fileURLToPath(folder)] })
  const of = (name: string) => loaded[`grpc.reflection.v1.${name}`] as MessageTypeDefinition<object, object>
  const client = new Client(`localhost:${port}`, credentials.createInsecure())
  const stream = client.makeBidiStreamRequest(
    '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    (request: object) => of('ServerReflectionRequest').serialize(request),
    (bytes) => of('ServerReflectionResponse').deserialize(bytes),
  )
  stream.write({ listServices: '*' })
  stream.end()
  const names: string[] = []
  for await (const answer of stream) {
    const { listServicesResponse } = answer as { listServicesResponse: { service: { name: string }[] } }
    names.push(...listServicesResponse.service.map(({ name }) => name))
  }
  client.close()
  return names.sort()
}
