/**
 * Clients of other protocols on the port of the Redis protocol. Browsers, HTTP libraries and TLS stacks can be made to
 * connect to any port and to send text of somebody else's choice, line breaks included; lines that look like inline
 * commands must not be carried out. What a connection begins with decides:
 *
 *   an array (`*`)                         the Redis protocol, as all clients speak it
 *   a byte that no text begins with        TLS (0x16, SSLv2 0x80), other binary protocols: the connection ends at once
 *   a line that HTTP could begin with      … likewise, when the line is complete
 *   `PROXY …`                              … likewise: a header from somebody who is not a trusted proxy
 *   a command that does not exist          answered as everywhere, and the connection ends: SMTP, SSH, FTP, typing errors
 *   any other line                         an inline command
 *
 * Empty lines in front do not count. Not defended against: a program that can be made to send `*` or an existing command
 * first (curl with a gopher:// URL). Tokens are for that.
 */
import { METHODS } from 'node:http'
import type { Emit } from '../../../core/events.ts'
import { LineLimit } from '../../line-limit.ts'

/** As shown in metrics and log lines. */
export type OtherProtocol = 'tls' | 'http' | 'proxy' | 'binary' | 'unknown'
export const OTHER_PROTOCOLS: readonly OtherProtocol[] = ['tls', 'http', 'proxy', 'binary', 'unknown']

const TLS_HANDSHAKE = 0x16
const SSL2_HELLO = 0x80
/** Some of them are commands, too: GET, COPY, UNLINK. */
const HTTP_METHODS: ReadonlySet<string> = new Set(METHODS)
const VERSION = /^[a-z]+\/\d/i
const TARGET = /^(\/|[a-z][a-z0-9+.-]*:\/\/)/i

/** By the first byte of the first line; null = it may be text. */
export function protocolOfByte(byte: number): OtherProtocol | null {
  if ((byte >= 0x20 && byte < 0x7f) || (byte >= 9 && byte <= 13)) return null
  return byte === TLS_HANDSHAKE || byte === SSL2_HELLO ? 'tls' : 'binary'
}

/** By the whole first line that is not empty; null = it may be a command. */
export function protocolOfLine(line: string): OtherProtocol | null {
  const words = line.trim().split(/\s+/)
  const first = words[0]!.toUpperCase()
  if (first === 'PROXY') return 'proxy'
  if (words.length === 1) return null
  // METHOD SP target SP HTTP/1.1, whatever the method is; RTSP and SIP have the same form.
  if (VERSION.test(words.at(-1)!)) return 'http'
  // HTTP/0.9, or a target that holds a line break.
  return HTTP_METHODS.has(first) && TARGET.test(words[1]!) ? 'http' : null
}

/** Counts them, and has a line logged now and then. */
export class OtherProtocols {
  readonly counts = new Map<OtherProtocol, number>(OTHER_PROTOCOLS.map((protocol) => [protocol, 0]))
  private readonly emit: Emit
  private readonly lines: LineLimit

  constructor(emit: Emit, monotonicMs: () => number) {
    this.emit = emit
    this.lines = new LineLimit(monotonicMs)
  }

  note(address: string, protocol: OtherProtocol): void {
    this.counts.set(protocol, this.counts.get(protocol)! + 1)
    if (this.lines.allows(address)) this.emit({ kind: 'other-protocol', address, protocol })
  }
}
