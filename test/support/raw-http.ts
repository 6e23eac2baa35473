/**
 * HTTP by hand on a bare socket, for what clients would refuse to send or would tidy up: the bytes go out as they are.
 */
import { connect, type Socket } from 'node:net'

export interface RawAnswer {
  readonly status: number
  /** Names in lower case; the values of a name that comes twice are joined by `, `. */
  readonly headers: Readonly<Record<string, string>>
  readonly bytes: Buffer
  readonly text: string
  /** The body as a JSON object. */
  json(): Record<string, unknown>
}

export class RawConnection {
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

  /**
   * @param allowHalfOpen a client that does not close when the server does
   * @param localAddress another address of loopback, for what the server counts by address
   */
  static open(
    port: number,
    { allowHalfOpen = false, localAddress = '127.0.0.1' } = {},
  ): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen, localAddress }, () => {
        socket.removeListener('error', reject)
        resolve(new RawConnection(socket))
      })
      socket.once('error', reject)
    })
  }

  /** A string goes out as latin1: one character, one byte. */
  send(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  }

  /** The next answer; to a HEAD it has no body. Rejects when the connection ends before one is whole. */
  async answer({ head = false } = {}): Promise<RawAnswer> {
    for (;;) {
      const taken = takeAnswer(this.received, head)
      if (taken) {
        this.received = taken.rest
        return taken.answer
      }
      if (this.isClosed) throw new Error(`closed after: ${JSON.stringify(this.received.toString('latin1'))}`)
      await this.more()
    }
  }

  /** Resolves once the connection is closed, with what had come until then and was not taken as an answer. */
  async closed(): Promise<string> {
    while (!this.isClosed) await this.more()
    return this.received.toString('latin1')
  }

  destroy(): void {
    this.socket.destroy()
  }

  private more(): Promise<void> {
    return new Promise((resolve) => (this.wake = resolve))
  }
}

/** One request on a connection of its own. */
export async function rawRequest(port: number, request: string | Buffer): Promise<RawAnswer> {
  const connection = await RawConnection.open(port)
  try {
    connection.send(request)
    return await connection.answer({ head: request.toString('latin1').startsWith('HEAD ') })
  } finally {
    connection.destroy()
  }
}

export interface Sent {
  headers?: Readonly<Record<string, string>>
  /** An object is sent as JSON, and says so. */
  body?: Buffer | string | object
}

/** A well-formed request on a connection of its own. The path goes out as it is: nothing is folded or encoded. */
export function call(port: number, method: string, path: string, sent: Sent = {}): Promise<RawAnswer> {
  return rawRequest(port, requestBytes(method, path, sent))
}

export function requestBytes(method: string, path: string, { headers = {}, body }: Sent = {}): Buffer {
  const isJson = typeof body === 'object' && !Buffer.isBuffer(body)
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(isJson ? JSON.stringify(body) : (body ?? ''))
  const all: Record<string, string> = {
    Host: 'localhost',
    ...(body === undefined ? {} : { 'Content-Length': String(bytes.length) }),
    ...(isJson ? { 'Content-Type': 'application/json' } : {}),
    ...headers,
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1'), bytes])
}

function takeAnswer(bytes: Buffer, head: boolean): { answer: RawAnswer; rest: Buffer } | null {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd < 0) return null
  const [statusLine = '', ...lines] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1])
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    const value = line.slice(colon + 1).trim()
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`
  }
  const noBody = head || status < 200 || status === 204 || status === 304
  const bodyEnd = headEnd + 4 + (noBody ? 0 : Number(headers['content-length'] ?? 0))
  if (bytes.length < bodyEnd) return null
  const body = bytes.subarray(headEnd + 4, bodyEnd)
  const text = body.toString('utf8')
  const json = () => JSON.parse(text) as Record<string, unknown>
  return { answer: { status, headers, bytes: body, text, json }, rest: bytes.subarray(bodyEnd) }
}
