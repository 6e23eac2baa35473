/** A stream on a connection of its own, and everything that comes back until the connection ends. */
import { connect } from 'node:net'
import { command } from '../support/raw-resp.ts'
import { split, type Answered } from './compare.ts'
import { TAG, type Stream } from './streams.ts'

/** A connection that has not ended by then, though its client has, hangs. */
const LIMIT_MS = 20_000

/** The bytes of the stream, with a name for its keys. */
export function bytesOf(stream: Stream, tag: string): Buffer {
  const bytes = Buffer.from(Buffer.concat(stream.pieces))
  for (let at = bytes.indexOf(TAG); at >= 0; at = bytes.indexOf(TAG, at + TAG.length))
    bytes.write(tag, at, 'latin1')
  return bytes
}

/** @throws Error when the connection does not end */
export async function exchange(
  port: number,
  server: 'server' | 'redis',
  stream: Stream,
  bytes: Buffer,
): Promise<Answered> {
  const before = [
    ...(stream.protocol === 3 ? [command('HELLO', '3')] : []),
    ...(server === 'server' ? [command('RONDO', 'CONSISTENCY', stream.level)] : []),
  ]
  const answered = await send(port, Buffer.concat(before), bytes, stream)
  if (stream.leaves) return answered
  const { replies } = split(answered.bytes)
  if (replies.length < before.length) return { bytes: Buffer.alloc(0), reset: answered.reset }
  const skipped = replies.slice(0, before.length).reduce((sum, reply) => sum + reply.length, 0)
  return { bytes: answered.bytes.subarray(skipped), reset: answered.reset }
}

function send(port: number, before: Buffer, bytes: Buffer, { writes, leaves }: Stream): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let reset = false
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    const limit = setTimeout(() => {
      reject(
        new Error(
          `the connection did not end within ${LIMIT_MS} ms; replies so far: ${Buffer.concat(chunks).toString('latin1').slice(0, 300)}`,
        ),
      )
      socket.destroy()
    }, LIMIT_MS)
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('error', () => (reset = true))
    socket.on('close', () => {
      clearTimeout(limit)
      resolve({ bytes: Buffer.concat(chunks), reset })
    })
    const size = Math.max(1, Math.ceil(bytes.length / writes))
    let at = 0
    const next = () => {
      if (socket.destroyed || reset) return
      if (at < bytes.length) {
        socket.write(bytes.subarray(at, (at += size)))
        setImmediate(next)
      } else if (leaves) socket.destroy()
      else socket.end()
    }
    socket.on('connect', () => {
      if (before.length > 0) socket.write(before)
      next()
    })
  })
}
