/**
 * Parses the request target (RFC 9112, 3.2) once: all other code sees only the result.
 *
 * Origin form (`/path?query`) is used as it is. Absolute form (`http://host/path`), which clients send to proxies, is
 * reduced to its path, and its host replaces the Host header. Everything else is refused: `*`, other schemes,
 * `//host/path`, and bytes that must be percent-encoded and that parsers treat differently. Nothing is decoded or
 * normalized: `/%61pi` and `/x/../api` are not `/api`, and a key may be `..`.
 */
import { RondoError } from '../../core/errors.ts'

const SLASH = 0x2f
/** Anything but visible ASCII, and `#` and the backslash. */
const UNSAFE = /[^\x21\x22\x24-\x5b\x5d-\x7e]/
const ABSOLUTE = /^https?:\/\/([^/?]*)/i
/** A host with or without a port. User names (`user@host`) are refused, as RFC 9110, 4.2.4 advises. */
const AUTHORITY = /^(?:[\w.-]+|\[[\da-f:.]+\])(?::\d{1,5})?$/i

export interface Target {
  /** In origin form: starts with exactly one slash. */
  readonly url: string
  /** The authority of an absolute form. */
  readonly host: string
}

/** The form of almost every request. */
export function isOriginForm(url: string): boolean {
  return url.charCodeAt(0) === SLASH && url.charCodeAt(1) !== SLASH && !UNSAFE.test(url)
}

/** Reduces an absolute form to origin form; null = neither form. */
export function reduceAbsolute(url: string): Target | null {
  const [whole, host] = ABSOLUTE.exec(url) ?? []
  if (whole === undefined || host === undefined || !AUTHORITY.test(host)) return null
  const rest = url.slice(whole.length)
  const origin = rest === '' || rest.startsWith('?') ? `/${rest}` : rest
  return isOriginForm(origin) ? { url: origin, host } : null
}

export function badTarget(): RondoError {
  return new RondoError(
    'BAD_REQUEST',
    'The request target must be a path that begins with one slash, or http:// or https:// with a host and such a ' +
      'path; bytes outside of ASCII, # and \\ are sent as % escapes.',
  )
}
