// The same as worst-input.test.ts for collections that are as large as they may be: who walks over two million entries lets
// others have their turn meanwhile. They are made once, by RESTORE, and copied where a command changes them.
import { connect } from 'node:net'
import { expect } from 'chai'
import { Crc64 } from '../../../src/commands/dump/crc64.ts'
import { command } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const ENTRIES = Number(process.env.N ?? 2_000_000)
const END = 'the end of this test'
const [list, set, hash, zset] = ['{t}list', '{t}set', '{t}hash', '{t}zset']

function text(i: number, prefix: string): Buffer {
  const s = Buffer.from(`${prefix}${i.toString(36).padStart(5, '0')}`)
  return Buffer.concat([Buffer.from([s.length]), s])
}
function payload(form: number, count: number, each: (i: number) => Buffer[]): Buffer {
  const head = Buffer.from([form, 0x80, 0, 0, 0, 0])
  head.writeUInt32BE(count, 2)
  const all: Buffer[] = [head]
  for (let i = 0; i < count; i++) all.push(...each(i))
  const bytes = Buffer.concat([...all, Buffer.from([9, 0])])
  return Buffer.concat([bytes, new Crc64().add(bytes).bytes()])
}
function double(n: number): Buffer {
  const b = Buffer.alloc(8)
  b.writeDoubleLE(n)
  return b
}

const LINES: (string | Buffer)[][] = (process.env.LINES ? process.env.LINES.split(';').map((l) => l.split(' ')) : [])

describe('collections as large as they may be', function () {
  this.timeout(1_200_000)
  let running: RunningRondo
  before(async () => {
    running = await startRondo({ MAX_BATCH_BYTES: '64MiB', REQUEST_TIMEOUT_MS: '60000', MAX_REPLY_BYTES: '64MiB', MEMORY_NODES: '1', REPLICATION_FACTOR: '1', MEMORY_NODE_MAX_BYTES: '2GiB', MAX_CLIENT_MEMORY: '1GiB' })
  })
  after(() => running.stop())

  function send(...commands: Buffer[]): Promise<{ turn: number; tail: string; ms: number; cpu: number }> {
    const cpu0 = process.cpuUsage()
    return new Promise((resolve, reject) => {
      const socket = connect(running.rondo.respServer.port, '127.0.0.1')
      let last = process.cpuUsage()
      let longestUs = 0
      let isOpen = true
      const start = performance.now()
      const look = () => {
        const { user, system } = process.cpuUsage(last)
        longestUs = Math.max(longestUs, user + system)
        last = process.cpuUsage()
        if (isOpen) setImmediate(look)
      }
      let tail = ''
      let first = ''
      socket.on('data', (chunk) => {
        if (!first) first = chunk.toString('latin1', 0, 90)
        tail = tail.slice(-100) + chunk.toString('latin1', Math.max(0, chunk.length - 100))
        if (tail.includes(END)) socket.destroy()
      })
      socket.on('error', reject)
      socket.on('close', () => {
        isOpen = false
        resolve({ turn: longestUs / 1000, tail: JSON.stringify(first), ms: performance.now() - start, cpu: (process.cpuUsage(cpu0).user + process.cpuUsage(cpu0).system) / 1000 })
      })
      socket.on('connect', () => {
        look()
        for (const one of commands) socket.write(one)
        socket.write(command('PING', END))
      })
    })
  }

  it('walk', async () => {
    const { Session } = await import('node:inspector/promises')
    const session = new Session()
    session.connect()
    if (process.env.PROF) {
      await session.post('Profiler.enable')
      await session.post('Profiler.start')
    }
    const z = Math.min(ENTRIES, 1_300_000)
    const made: [string, Buffer][] = process.env.ONLY === 'set' ? [[set, payload(2, ENTRIES, (i) => [text(i, 'member:')])]] : [
      [list, payload(1, ENTRIES, (i) => [text(i, 'member:')])],
      [set, payload(2, ENTRIES, (i) => [text(i, 'member:')])],
      [hash, payload(4, ENTRIES, (i) => [text(i, 'f:'), text(i, '')])],
      [zset, payload(5, z, (i) => [text(z - 1 - i, 'member:'), double((z - 1 - i) % 2 ? z - 1 - i : z - 1 - i + 0.5)])],
    ]
    for (const [key, bytes] of made) {
      const r = await send(command('RESTORE', key, '0', bytes))
      console.log('RESTORE', key, Math.round(bytes.length / 1e6), 'MB', r.turn.toFixed(0), r.ms.toFixed(0), 'cpu', r.cpu.toFixed(0), r.tail.slice(0, 100))
    }
    for (const line of LINES) {
      const [keep] = line[0] === '*' ? line.splice(0, 1) : [null]
      const repeat = /^\d+$/.test(String(line[0])) ? Number(line.shift()) : 1
      const one = command(...(line as string[]))
      const all = repeat === 1 ? [one] : [command('MULTI'), ...Array.from({ length: repeat }, () => one), command('EXEC')]
      let peak = 0
      const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 20)
      const r = await send(...all)
      clearInterval(timer)
      console.log(`${r.turn > 50 ? '!!' : '  '} turn ${r.turn.toFixed(0)} ms ${r.ms.toFixed(0)} cpu ${r.cpu.toFixed(0)} rss ${(peak / 1e6).toFixed(0)}`, repeat, line.join(' ').slice(0, 80), r.tail.slice(0, 110))
      void keep
      if (global.gc) global.gc()
    }
    if (process.env.PROF) {
      const { profile } = await session.post('Profiler.stop')
      const { writeFileSync } = await import('node:fs')
      writeFileSync(process.env.PROF, JSON.stringify(profile))
    }
    expect(1).to.equal(1)
  })
})
