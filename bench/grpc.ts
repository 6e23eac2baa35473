/**
 * A value over gRPC beside the same value over HTTP, one call after the other on each of some connections:
 *
 *     npm run build && npx tsx bench/grpc.ts 4
 *
 * It starts the program on memory nodes. In each of that many rounds both get the same load for two seconds, in turn; the client
 * speaks HTTP/2 without a library of gRPC, which would cost more than the server. What is told is calls a second, the program's
 * CPU time for each, and the medians of the ratios within the rounds.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { connect, type ClientHttp2Session } from 'node:http2'
import { fileURLToPath } from 'node:url'
import { helpIfAsked, numberAt } from './arguments.ts'

const CONNECTIONS = 8
/** Of a connection of HTTP/2, calls at once; HTTP/1.1 has one. Both have as many in all. */
const STREAMS = 4
const ROUND_MS = 2000
const KEY = 'bench'
const VALUE = 'x'.repeat(100)
/** Of the kernel's clock in /proc. */
const TICK_MS = 10

helpIfAsked(import.meta.url)
const rounds = numberAt(0, 'The number of rounds', 4)
const main = fileURLToPath(new URL('../dist/main.js', import.meta.url))
const program = spawn(process.execPath, [main], {
  env: { PATH: process.env.PATH, PORT: '0', RESP_PORT: 'off', GRPC_PORT: '0', LOG_LEVEL: 'error' },
  stdio: ['ignore', 'pipe', 'inherit'],
})
process.on('exit', () => program.kill('SIGKILL'))

const [httpPort, grpcPort] = await new Promise<[number, number]>((resolve) => {
  let text = ''
  program.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString()
    const found = /listens on \S+:(\d+)[^]*gRPC client on \S+:(\d+)/.exec(text)
    if (found) resolve([Number(found[1]), Number(found[2])])
  })
})
const path = `/api/v1/keys/${KEY}`
await fetch(`http://localhost:${httpPort}${path}`, {
  method: 'PUT',
  headers: { 'content-type': 'text/plain' },
  body: VALUE,
})

const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS * STREAMS })
const sessions = Array.from({ length: CONNECTIONS }, () => connect(`http://127.0.0.1:${grpcPort}`))
const message = Buffer.concat([Buffer.from([0, 0, 0, 0, KEY.length + 2, 0x0a, KEY.length]), Buffer.from(KEY)])

function overHttp(): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = http.get({ port: httpPort, host: '127.0.0.1', path, agent }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`HTTP ${response.statusCode}`))
      response.resume().once('end', resolve)
    })
    request.once('error', reject)
  })
}

function overGrpc(session: ClientHttp2Session): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/rondo.v1.Cache/Get',
      'content-type': 'application/grpc',
      te: 'trailers',
    })
    stream.once('trailers', (trailers: Record<string, string>) => {
      if (trailers['grpc-status'] !== '0') reject(new Error(`status ${trailers['grpc-status']}`))
    })
    stream.once('error', reject)
    stream.resume().once('close', resolve)
    stream.end(message)
  })
}

interface Measured {
  readonly perSecond: number
  readonly cpuUs: number
}

async function measure(call: (lane: number) => Promise<void>): Promise<Measured> {
  let calls = 0
  const startedAtMs = performance.now()
  const before = cpuMs()
  const lane = async (number: number) => {
    while (performance.now() - startedAtMs < ROUND_MS) {
      await call(number)
      calls++
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS * STREAMS }, (_, i) => lane(i)))
  const ms = performance.now() - startedAtMs
  return { perSecond: (calls * 1000) / ms, cpuUs: ((cpuMs() - before) * 1000) / calls }
}

/** Of the program so far, user and system. */
function cpuMs(): number {
  const fields = readFileSync(`/proc/${program.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS
}

const byHttp = () => overHttp()
const byGrpc = (lane: number) => overGrpc(sessions[lane % CONNECTIONS]!)
await measure(byHttp)
await measure(byGrpc)
const measured: { readonly http: Measured; readonly grpc: Measured }[] = []
for (let round = 0; round < rounds; round++) {
  measured.push({ http: await measure(byHttp), grpc: await measure(byGrpc) })
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]!
const shown = (name: 'http' | 'grpc') =>
  `${name}: ${Math.round(median(measured.map((one) => one[name].perSecond)))} calls a second, ` +
  `${Math.round(median(measured.map((one) => one[name].cpuUs)))} µs of CPU each`
const ratio = (of: (one: Measured) => number) =>
  median(measured.map(({ http, grpc }) => of(grpc) / of(http))).toFixed(2)
process.stdout.write(
  `${shown('http')}\n${shown('grpc')}\n` +
    `grpc / http: ${ratio(({ perSecond }) => perSecond)} of the calls, ${ratio(({ cpuUs }) => cpuUs)} of the CPU\n`,
)
process.exit(0)
