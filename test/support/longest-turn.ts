/**
 * How long others have to wait while a server of this process works: the CPU time of the longest turn of its event loop.
 * CPU time depends little on what else the machine does; and it is compared with a fixed computation, because machines
 * differ. (The client is in this process, too.)
 */
import { connect } from 'node:net'
import { Crc64 } from '../../src/commands/dump/crc64.ts'
import { command } from './raw-resp.ts'

/** Far above what is promised (50 ms until others are answered): garbage is collected in other threads, and counts. */
export const MAX_TURN_MS = 150
/** A command that takes long does so each time; what the machine adds, it does not. */
const TRIES = 3
/** CPU time of a checksum of so many bytes, where MAX_TURN_MS was chosen. */
const REFERENCE_BYTES = Buffer.alloc(4 * 1024 * 1024, 'x')
const REFERENCE_MS = 26
const END = 'the end of this test'

export interface Sent {
  /** The CPU milliseconds that the longest turn took meanwhile. */
  readonly turnMs: number
  /** The first bytes of the reply. */
  readonly reply: string
}

/** Sends this, and waits until all is answered. */
export function send(port: number, ...commands: Buffer[]): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let last = process.cpuUsage()
    let longestUs = 0
    let isOpen = true
    const look = () => {
      const { user, system } = process.cpuUsage(last)
      longestUs = Math.max(longestUs, user + system)
      last = process.cpuUsage()
      if (isOpen) setImmediate(look)
    }
    let [reply, tail] = ['', '']
    socket.on('data', (chunk) => {
      if (reply.length < 100) reply += chunk.toString('latin1', 0, 100)
      tail = tail.slice(-100) + chunk.toString('latin1', Math.max(0, chunk.length - 100))
      if (tail.includes(END)) socket.destroy()
    })
    socket.on('error', reject)
    socket.on('close', () => {
      isOpen = false
      resolve({ turnMs: longestUs / 1000, reply })
    })
    socket.on('connect', () => {
      look()
      for (const one of commands) socket.write(one)
      // A MULTI is still open.
      socket.write(command('DISCARD'))
      socket.write(command('PING', END))
    })
  })
}

/** The least of several tries, as long as it is too much. */
export async function longestTurn(port: number, ...commands: Buffer[]): Promise<number> {
  let least = Infinity
  for (let i = 0; i < TRIES && least >= MAX_TURN_MS; i++) {
    const { turnMs } = await send(port, ...commands)
    least = Math.min(least, turnMs < MAX_TURN_MS ? turnMs : turnMs / slowness())
  }
  return least
}

/** How many times as long as there this machine takes at the moment; 1 if it is faster. */
export function slowness(): number {
  const before = process.cpuUsage()
  new Crc64().add(REFERENCE_BYTES).bytes()
  const { user, system } = process.cpuUsage(before)
  return Math.max(1, (user + system) / 1000 / REFERENCE_MS)
}
