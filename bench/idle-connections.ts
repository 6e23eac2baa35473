/**
 * What an idle connection of the Redis protocol server costs in memory:
 *
 *     npm run build && (ulimit -n 11000; npx tsx bench/idle-connections.ts 10000)
 *
 * It starts the program on memory nodes, opens that many connections, each of which has sent one command, and tells by
 * how much the program's resident memory has grown. What the kernel keeps for a socket is not in it.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { helpIfAsked, numberAt } from './arguments.ts'

const KIB = 1024
const AT_ONCE = 200
const SETTLE_MS = 3000

helpIfAsked(import.meta.url)
const count = numberAt(0, 'The number of connections', 10_000)
const main = fileURLToPath(new URL('../dist/main.js', import.meta.url))
const program = spawn(process.execPath, [main], {
  env: { PATH: process.env.PATH, PORT: '0', RESP_PORT: '0', LOG_LEVEL: 'error' },
  stdio: ['ignore', 'pipe', 'inherit'],
})
process.on('exit', () => program.kill('SIGKILL'))

const port = await new Promise<number>((resolve) => {
  let text = ''
  program.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString()
    const found = /Redis client on \S+:(\d+)/.exec(text)
    if (found) resolve(Number(found[1]))
  })
})

const sockets: Socket[] = []
await openMany(AT_ONCE) // what is set up once, however many there are
await delay(SETTLE_MS)
const before = residentBytes()
while (sockets.length < count + AT_ONCE) await openMany(Math.min(AT_ONCE, count + AT_ONCE - sockets.length))
await delay(SETTLE_MS)
const grown = residentBytes() - before
process.stdout.write(
  `${count} idle connections: ${(grown / KIB / KIB).toFixed(1)} MiB more, ${(grown / count / KIB).toFixed(1)} KiB each\n`,
)
process.exit(0)

async function openMany(more: number): Promise<void> {
  await Promise.all(
    Array.from({ length: more }, async () => {
      const socket = connect({ port, host: '127.0.0.1' })
      sockets.push(socket)
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject)
        socket.once('data', () => resolve())
        socket.write('PING\r\n')
      })
    }),
  )
}

function residentBytes(): number {
  const [, pages] = readFileSync(`/proc/${program.pid}/statm`, 'utf8').split(' ')
  return Number(pages) * 4 * KIB
}
