/**
 * Detects clients of other protocols on the Redis port. An attacker can make browsers, HTTP libraries and TLS stacks
 * connect to any port and send chosen text, including line breaks; lines that look like inline commands must not be
 * executed. The first bytes of a connection decide:
 *
 *   an array (`*`)                  the Redis protocol, as all clients use it
 *   a byte that no text starts with TLS (0x16, SSLv2 0x80) or another binary protocol: closed at once
 *   a request line of HTTP          closed when the line is complete
 *   `PROXY …`                       likewise: a header from an address that is not a trusted proxy
 *   an unknown command              the usual error, then closed: SMTP, SSH, FTP, typing errors
 *   any other line                  an inline command
 *
 * Leading empty lines are ignored. Not covered: a program that can be made to send `*` or an existing command first (curl
 * with a gopher:// URL). Tokens protect against that.
 */
import { METHODS } from 'node:http'
import type { Emit } from '../../../core/events.ts'
import { LineLimit } from '../../line-limit.ts'

/** As shown in metrics and log lines. */
export type OtherProtocol = 'tls' | 'http' | 'proxy' | 'binary' | 'unknown'
const OTHER_PROTOCOLS: readonly OtherProtocol[] = ['tls', 'http', 'proxy', 'binary', 'unknown']

const TLS_HANDSHAKE = 0x16
const SSL2_HELLO = 0x80
/** Some are Redis commands too: GET, COPY, UNLINK. */
const HTTP_METHODS: ReadonlySet<string> = new Set(METHODS)
const VERSION = /^[a-z]+\/\d/i
const TARGET = /^(\/|[a-z][a-z0-9+.-]*:\/\/)/i

/** Detects a protocol by the first byte; null = it may be text. */
export function protocolOfByte(byte: number): OtherProtocol | null {
  if ((byte >= 0x20 && byte < 0x7f) || (byte >= 9 && byte <= 13)) return null
  return byte === TLS_HANDSHAKE || byte === SSL2_HELLO ? 'tls' : 'binary'
}

/** Detects a protocol by the first non-empty line; null = it may be a command. */
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

/** Counts such connections, and logs them at a limited rate. */
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
