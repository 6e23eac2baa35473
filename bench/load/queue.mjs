/**
 * A queue with workers that wait: node queue.mjs <port of the pops> <port of the pushes> <lanes> <seconds>
 *
 * Each lane is one worker on a queue of its own and one client that pushes to it. The worker waits in BLPOP; a moment later an
 * element is pushed; measured is from the push to the reply of BLPOP. Prints one line of JSON.
 */
import net from 'node:net'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers'
import { setTimeout as delay } from 'node:timers/promises'

/** So that the worker waits by the time of the push. */
const PAUSE_MS = 2
const [popPort, pushPort, lanes, seconds] = process.argv.slice(2).map(Number)
const latencies = []
let isOver = false

/** One reply for one request, each of a known form. */
async function open(port) {
  const socket = net.connect(port, '127.0.0.1').setNoDelay(true)
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  let text = ''
  let waiter = null
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk
    if (waiter === null || !waiter.isWhole(text)) return
    const { resolve } = waiter
    waiter = null
    const reply = text
    text = ''
    resolve(reply)
  })
  const ask = (request, isWhole) =>
    new Promise((resolve) => {
      waiter = { resolve, isWhole }
      socket.write(request)
    })
  return { ask, close: () => socket.destroy() }
}

const command = (...words) =>
  `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`

async function lane(number) {
  const [worker, client] = [await open(popPort), await open(pushPort)]
  const key = `bench:queue:${number}`
  const element = 'e'.repeat(100)
  const popped = command('_', key, element).replace(/^.*?_\r\n/s, '')
  for (let first = true; !isOver; first = false) {
    const waiting = worker.ask(
      command('BLPOP', key, '0'),
      (text) => text.endsWith(`${element}\r\n`) || text[0] === '-',
    )
    await delay(first ? 300 : PAUSE_MS) // at first the others have to learn that somebody waits
    const sentAtMs = performance.now()
    let repliedAtMs = 0
    void waiting.then(() => (repliedAtMs = performance.now()))
    const pushed = await client.ask(command('RPUSH', key, element), (text) => text.endsWith('\r\n'))
    const reply = await waiting
    if (!reply.endsWith(popped) || pushed[0] !== ':') throw new Error(`unexpected: ${pushed} ${reply}`)
    if (!first) latencies.push(repliedAtMs - sentAtMs)
  }
  worker.close()
  client.close()
}

setTimeout(() => (isOver = true), seconds * 1000)
const startedAtMs = performance.now()
await Promise.all(Array.from({ length: lanes }, (_, number) => lane(number)))
const elapsedSeconds = (performance.now() - startedAtMs) / 1000
if (latencies.length === 0) throw new Error('no element was handed over in time')
latencies.sort((a, b) => a - b)
const at = (share) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))]
process.stdout.write(
  `${JSON.stringify({ count: latencies.length, perSecond: latencies.length / elapsedSeconds, p50Ms: at(0.5), p99Ms: at(0.99) })}\n`,
)
