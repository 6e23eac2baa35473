/** The Redis protocol by hand on a bare socket: bytes go out as they are, and replies come as the bytes that they are. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export class RawResp {
  readonly socket: Socket
  private received: Buffer = Buffer.alloc(0)
  private isClosed = false
  private wake: () => void = () => undefined

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => {
      this.received = Buffer.concat([this.received, chunk])
      this.wake()
    })
    socket.on('error', () => undefined) // 'close' follows
    socket.on('close', () => {
      this.isClosed = true
      this.wake()
    })
  }

  static async open(port: number): Promise<RawResp> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    await once(socket, 'connect')
    return new RawResp(socket)
  }

  /** A string goes out as latin1: one character, one byte. */
  send(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  }

  /** One command and its reply. */
  async ask(...args: (string | Buffer)[]): Promise<string> {
    this.send(command(...args))
    return this.reply()
  }

  /** The bytes of the next reply as latin1. Rejects when the connection ends before. */
  async reply(): Promise<string> {
    return (await this.replies(1))[0]!
  }

  async replies(count: number): Promise<string[]> {
    const replies: string[] = []
    let at = 0
    for (;;) {
      for (let end; replies.length < count && (end = replyEnd(this.received, at)) !== null; at = end) {
        replies.push(this.received.toString('latin1', at, end))
      }
      if (replies.length === count) break
      if (this.isClosed) throw new Error(`closed after ${replies.length} of ${count} replies`)
      await this.more()
    }
    this.received = this.received.subarray(at)
    return replies
  }

  /** Everything that is still to come until the connection ends. */
  async rest(): Promise<string> {
    while (!this.isClosed) await this.more()
    return this.received.toString('latin1')
  }

  close(): void {
    this.socket.destroy()
  }

  private more(): Promise<void> {
    return new Promise((resolve) => (this.wake = resolve))
  }
}

/** As clients send it. */
export function command(...args: (string | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${args.length}\r\n`)]
  for (const arg of args) {
    const bytes = typeof arg === 'string' ? Buffer.from(arg, 'latin1') : arg
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'))
  }
  return Buffer.concat(parts)
}

/** Where the reply that begins at `at` ends, or null while a part of it is missing. */
function replyEnd(bytes: Buffer, at: number): number | null {
  const lineEnd = bytes.indexOf('\r\n', at)
  if (lineEnd === -1) return null
  const kind = String.fromCharCode(bytes[at]!)
  const count = Number(bytes.toString('latin1', at + 1, lineEnd))
  let end: number | null = lineEnd + 2
  if ('$=!'.includes(kind)) {
    if (count >= 0) end += count + 2
    return end <= bytes.length ? end : null
  }
  if (!'*%~>'.includes(kind)) return end
  for (let left = kind === '%' ? 2 * count : count; left > 0 && end !== null; left--)
    end = replyEnd(bytes, end)
  return end
}
