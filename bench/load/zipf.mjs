/**
 * GETs of keys drawn by Zipf, over the Redis protocol: node zipf.mjs <port> <keys> <seconds> <connections> <pipeline> <bytes>
 *
 * All values have the same length, so replies are counted by their bytes: the generator costs little beside what it
 * measures. Prints one line of JSON.
 */
import net from 'node:net'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers'

const EXPONENT = 0.99
const BATCHES = 4096
const [port, keys, seconds, connections, pipeline, valueBytes] = process.argv.slice(2).map(Number)
const replyBytes = `$${valueBytes}\r\n`.length + valueBytes + 2

const shares = new Float64Array(keys)
let sum = 0
for (let i = 0; i < keys; i++) shares[i] = sum += 1 / (i + 1) ** EXPONENT

/** The rank of a random key: the first whose share of the sum is reached. */
function draw() {
  const at = Math.random() * sum
  let [low, high] = [0, keys - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    if (shares[middle] < at) low = middle + 1
    else high = middle
  }
  return low
}

const batches = Array.from({ length: Math.ceil((BATCHES * 16) / pipeline) }, () => {
  const commands = Array.from({ length: pipeline }, () => {
    const key = `bench:key:${String(draw()).padStart(6, '0')}`
    return `*2\r\n$3\r\nGET\r\n$${key.length}\r\n${key}\r\n`
  })
  return Buffer.from(commands.join(''))
})

let requests = 0
let isOver = false
const latencies = []

function open() {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.setNoDelay(true)
    let missing = 0
    let sentAt = 0
    const send = () => {
      missing = replyBytes * pipeline
      sentAt = performance.now()
      socket.write(batches[Math.floor(Math.random() * batches.length)])
    }
    socket.on('connect', send)
    socket.on('data', (bytes) => {
      missing -= bytes.length
      if (missing > 0) return
      if (missing < 0) reject(new Error('a reply of another length'))
      requests += pipeline
      latencies.push(performance.now() - sentAt)
      if (!isOver) send()
      else socket.end(resolve)
    })
    socket.on('error', reject)
  })
}

const began = performance.now()
setTimeout(() => (isOver = true), seconds * 1000)
await Promise.all(Array.from({ length: connections }, open))
const took = (performance.now() - began) / 1000
latencies.sort((a, b) => a - b)
const at = (share) => latencies[Math.floor(latencies.length * share)]
process.stdout.write(
  JSON.stringify({ requests, perSecond: requests / took, p50Ms: at(0.5), p99Ms: at(0.99) }) + '\n',
)
