/**
 * A TCP server that speaks just enough of the Redis protocol to answer as a test tells it to: what, in which pieces, or
 * not at all.
 */
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import tls from 'node:tls'

export type Answer = Buffer | string | null

export class ScriptedServer {
  /** All commands that came, of all connections, as text. */
  readonly commands: string[] = []
  /** How many bytes came in one piece. */
  readonly pieces: number[] = []
  readonly sockets = new Set<Socket>()
  connections = 0
  /** The answer to a command; null = none. */
  answer: (command: string[], socket: Socket) => Answer
  /** Sends the answers to one piece of input, as one buffer. */
  send: (bytes: Buffer, socket: Socket) => void | Promise<void> = (bytes, socket) => void socket.write(bytes)
  private readonly server: net.Server

  private constructor(answer: ScriptedServer['answer'], secure?: tls.TlsOptions) {
    this.answer = answer
    const accept = (socket: Socket) => this.accept(socket)
    this.server = secure ? tls.createServer(secure, accept) : net.createServer(accept)
  }

  static async start(answer: ScriptedServer['answer'], secure?: tls.TlsOptions): Promise<ScriptedServer> {
    const scripted = new ScriptedServer(answer, secure)
    scripted.server.listen(0, '127.0.0.1')
    await once(scripted.server, 'listening')
    return scripted
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    this.server.close()
    await once(this.server, 'close')
  }

  private accept(socket: Socket): void {
    this.connections++
    this.sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => undefined) // it is the client's to complain
    socket.on('close', () => this.sockets.delete(socket))
    let input = Buffer.alloc(0)
    socket.on('data', (bytes: Buffer) => {
      this.pieces.push(bytes.length)
      input = Buffer.concat([input, bytes])
      const answers: Buffer[] = []
      for (;;) {
        const parsed = parseCommand(input)
        if (!parsed) break
        input = input.subarray(parsed.end)
        this.commands.push(parsed.args.map((arg) => arg.toString('latin1')).join(' '))
        const answer = this.answer(
          parsed.args.map((arg) => arg.toString('latin1')),
          socket,
        )
        if (answer !== null) answers.push(Buffer.from(answer as string))
      }
      if (answers.length > 0) void this.send(Buffer.concat(answers), socket)
    })
  }
}

/** Sends the bytes in pieces that end at these places, each in a packet of its own. */
export async function inPieces(bytes: Buffer, ends: readonly number[], socket: Socket): Promise<void> {
  let from = 0
  for (const end of [...ends, bytes.length]) {
    if (end > from) socket.write(bytes.subarray(from, end))
    from = Math.max(from, end)
    // The other side reads in between: it lives in the same event loop.
    for (let i = 0; i < 3; i++) await turn()
  }
}

function parseCommand(input: Buffer): { args: Buffer[]; end: number } | null {
  let at = 0
  const line = (): string | null => {
    const end = input.indexOf('\r\n', at)
    if (end < 0) return null
    const text = input.toString('latin1', at, end)
    at = end + 2
    return text
  }
  const count = line()
  if (count === null) return null
  const args: Buffer[] = []
  for (let i = 0; i < Number(count.slice(1)); i++) {
    const head = line()
    if (head === null) return null
    const length = Number(head.slice(1))
    if (at + length + 2 > input.length) return null
    args.push(input.subarray(at, at + length))
    at += length + 2
  }
  return { args, end: at }
}
