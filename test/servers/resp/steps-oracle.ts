/** A real redis-server, asked over a raw socket, so that its replies come as the bytes that they are. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Protocol } from '../../../src/commands/reply.ts'

const CR = 0x0d
const AGGREGATES = '*%~>'
const BULKS = '$=!'

export class Oracle {
  readonly #socket: Socket
  #unread: Buffer = Buffer.alloc(0)

  static async open(port: number, protocol: Protocol): Promise<Oracle> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    await once(socket, 'connect')
    const oracle = new Oracle(socket)
    if (protocol === 3) await oracle.ask([[Buffer.from('HELLO'), Buffer.from('3')]])
    return oracle
  }

  private constructor(socket: Socket) {
    this.#socket = socket
  }

  /** All commands in one write; their replies, each as it came. */
  async ask(commands: readonly (readonly Buffer[])[]): Promise<Buffer[]> {
    this.#socket.write(Buffer.concat(commands.map(encodeCommand)))
    const replies: Buffer[] = []
    const chunks: Buffer[] = [this.#unread]
    while (replies.length < commands.length) {
      const all = Buffer.concat(chunks)
      let at = 0
      for (
        let end = replyEnd(all, 0);
        end !== null && replies.length < commands.length;
        end = replyEnd(all, at)
      ) {
        replies.push(all.subarray(at, end))
        at = end
      }
      chunks.splice(0, chunks.length, all.subarray(at))
      if (replies.length < commands.length) chunks.push(((await once(this.#socket, 'data')) as [Buffer])[0])
    }
    this.#unread = Buffer.concat(chunks)
    return replies
  }

  close(): void {
    this.#socket.destroy()
  }
}

function encodeCommand(args: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${args.length}\r\n`)]
  for (const arg of args) parts.push(Buffer.from(`$${arg.length}\r\n`), arg, Buffer.from('\r\n'))
  return Buffer.concat(parts)
}

/** Where the reply that begins at `at` ends, or null while a part of it is missing. */
function replyEnd(bytes: Buffer, at: number): number | null {
  const lineEnd = bytes.indexOf(CR, at)
  if (lineEnd === -1 || lineEnd + 2 > bytes.length) return null
  const kind = String.fromCharCode(bytes[at]!)
  const count = Number(bytes.toString('latin1', at + 1, lineEnd))
  const bodyAt = lineEnd + 2
  if (BULKS.includes(kind) && count >= 0) {
    return bodyAt + count + 2 <= bytes.length ? bodyAt + count + 2 : null
  }
  if (!AGGREGATES.includes(kind)) return bodyAt
  let end: number | null = bodyAt
  for (let left = kind === '%' ? 2 * count : count; left > 0 && end !== null; left--) {
    end = replyEnd(bytes, end)
  }
  return end
}
