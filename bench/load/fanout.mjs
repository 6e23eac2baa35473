/**
 * One publisher, many subscribers: node fanout.mjs <port of the subscribers> <port of the publisher> <subscribers> <window> <seconds>
 *
 * The publisher has as many messages without a reply as `window` says. All messages have the same length, so that they are
 * counted by their bytes; every tenth subscriber reads the time in each. Prints one line of JSON.
 */
import net from 'node:net'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'

const CHANNEL = 'bench:fanout'
const PAYLOAD_BYTES = 100
const TIME_DIGITS = 16
const TIMED_OF = 10
const SETTLE_LIMIT_MS = 5000
const [subscriberPort, publisherPort, subscribers, window, seconds] = process.argv.slice(2).map(Number)

const command = (...words) =>
  `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`
const confirmation = command('subscribe', CHANNEL, '').replace('$0\r\n\r\n', ':1\r\n')
const messageBytes = command('message', CHANNEL, ' '.repeat(PAYLOAD_BYTES)).length
const timeAt = messageBytes - PAYLOAD_BYTES - 2

let receivedBytes = 0
const latencies = []

async function connected(port) {
  const socket = net.connect(port, '127.0.0.1').setNoDelay(true)
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  return socket
}

async function subscribe(number) {
  const socket = await connected(subscriberPort)
  socket.write(command('SUBSCRIBE', CHANNEL))
  await new Promise((resolve, reject) =>
    socket.once('data', (bytes) =>
      bytes.toString('latin1') === confirmation ? resolve() : reject(new Error(String(bytes))),
    ),
  )
  let rest = Buffer.alloc(0)
  socket.on('data', (bytes) => {
    receivedBytes += bytes.length
    if (number % TIMED_OF !== 0) return
    const now = performance.now()
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
    let at = 0
    for (; at + messageBytes <= rest.length; at += messageBytes)
      latencies.push(now - Number(rest.latin1Slice(at + timeAt, at + timeAt + TIME_DIGITS)))
    rest = rest.subarray(at)
  })
  return socket
}

async function publish(untilMs) {
  const socket = await connected(publisherPort)
  let [sent, replied] = [0, 0]
  const send = () => {
    let text = ''
    for (; sent - replied < window && performance.now() < untilMs; sent++) {
      const time = performance.now().toFixed(6).padStart(TIME_DIGITS)
      text += command('PUBLISH', CHANNEL, time.padEnd(PAYLOAD_BYTES, 'x'))
    }
    if (text !== '') socket.write(text)
  }
  await new Promise((resolve, reject) => {
    socket.setEncoding('latin1').on('data', (text) => {
      if (text.includes('-')) reject(new Error(text))
      replied += text.split('\n').length - 1
      if (replied === sent && performance.now() >= untilMs) resolve()
      else send()
    })
    send()
  })
  socket.destroy()
  return sent
}

const sockets = []
for (let number = 0; number < subscribers; number++) sockets.push(await subscribe(number))
await delay(300) // until another coordinator has subscribed at the nodes
const startedAtMs = performance.now()
const published = await publish(startedAtMs + seconds * 1000)
const elapsedSeconds = (performance.now() - startedAtMs) / 1000
const expected = published * subscribers
const delivered = () => receivedBytes / messageBytes
for (
  const limitMs = performance.now() + SETTLE_LIMIT_MS;
  delivered() < expected && performance.now() < limitMs;
)
  await delay(5)
for (const socket of sockets) socket.destroy()
latencies.sort((a, b) => a - b)
const at = (share) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))]
process.stdout.write(
  `${JSON.stringify({
    count: delivered(),
    lost: expected - delivered(),
    perSecond: delivered() / elapsedSeconds,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
  })}\n`,
)
process.exit(0)
