/**
 * Parser for the PROXY protocol header, versions 1 (text) and 2 (binary), in which a proxy sends the client's address
 * (https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt). Pure: takes the bytes received so far.
 */
import { isIPv4, isIPv6 } from 'node:net'
import { plainAddress } from '../config/client-address.ts'

export type ProxyHeader =
  /** Incomplete so far. */
  | { readonly kind: 'more' }
  /** No header. */
  | { readonly kind: 'none' }
  /** An invalid header. */
  | { readonly kind: 'bad' }
  /** `bytes` = its length; `client` null = the proxy's own connection (LOCAL, UNKNOWN, another family). */
  | { readonly kind: 'header'; readonly bytes: number; readonly client: ClientEnd | null }

/** One end of a connection. */
export interface ClientEnd {
  readonly address: string
  readonly port: number
}

const TEXT_SIGNATURE = Buffer.from('PROXY ')
const MAX_TEXT_BYTES = 107
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const HEAD_BYTES = 16
/** The longest addresses (two Unix sockets of 108 bytes), and room for extensions after them. */
const MAX_BYTES = 536
const LOCAL = 0x20
const PROXY = 0x21
const TCP4 = 0x11
const TCP6 = 0x21

const MORE: ProxyHeader = { kind: 'more' }
const NONE: ProxyHeader = { kind: 'none' }
const BAD: ProxyHeader = { kind: 'bad' }

export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  if (beginsWith(bytes, TEXT_SIGNATURE))
    return bytes.length < TEXT_SIGNATURE.length ? MORE : textHeader(bytes)
  if (beginsWith(bytes, SIGNATURE)) return bytes.length < HEAD_BYTES ? MORE : binaryHeader(bytes)
  return NONE
}

/** Compares the common length. */
function beginsWith(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length)
  return bytes.compare(signature, 0, length, 0, length) === 0
}

function textHeader(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, MAX_TEXT_BYTES).indexOf('\r\n')
  if (end < 0) return bytes.length < MAX_TEXT_BYTES ? MORE : BAD
  const length = end + 2
  const words = bytes.toString('latin1', 0, end).split(' ')
  if (words[1] === 'UNKNOWN') return { kind: 'header', bytes: length, client: null }
  const [, family, source = '', target = '', port = '', targetPort = ''] = words
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : () => false
  if (words.length !== 6 || !isAddress(source) || !isAddress(target)) return BAD
  if (!isPort(port) || !isPort(targetPort)) return BAD
  return { kind: 'header', bytes: length, client: { address: plainAddress(source), port: Number(port) } }
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535
}

function binaryHeader(bytes: Buffer): ProxyHeader {
  const command = bytes[12]!
  const family = bytes[13]!
  const length = HEAD_BYTES + bytes.readUInt16BE(14)
  if ((command !== LOCAL && command !== PROXY) || length > MAX_BYTES) return BAD
  if (bytes.length < length) return MORE
  const isProxied = command === PROXY && (family === TCP4 || family === TCP6)
  if (!isProxied) return { kind: 'header', bytes: length, client: null }
  const addressBytes = family === TCP4 ? 4 : 16
  const portAt = HEAD_BYTES + 2 * addressBytes
  if (length < portAt + 4) return BAD
  const source = bytes.subarray(HEAD_BYTES, HEAD_BYTES + addressBytes)
  const client = { address: plainAddress(addressOf(source)), port: bytes.readUInt16BE(portAt) }
  return { kind: 'header', bytes: length, client }
}

function addressOf(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.')
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i))
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff
  if (isMapped) return bytes.subarray(12).join('.')
  // URL normalizes to the short form of RFC 5952.
  return new URL(`http://[${groups.map((group) => group.toString(16)).join(':')}]`).hostname.slice(1, -1)
}
