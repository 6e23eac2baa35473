/**
 * LOADER_URL as a function: GET of the template's URL with the key in it.
 *
 *   200          the value, at most `maxValueBytes`
 *   404, 410     there is none
 *   all others   the origin failed; redirects too
 *
 * A key fills one place of the template, percent-encoded, and cannot change the rest: with one that could be read as a way
 * to another path (`..`), nothing is asked, and there is no such value.
 */
import { LoadFailure, type LoadFunction } from './api.ts'

/** What is used of a Response of fetch(). */
export interface OriginResponse {
  readonly status: number
  readonly body: AsyncIterable<Uint8Array> | null
}

/** fetch(), or what an embedding program has instead. */
export type OriginFetch = (
  url: string,
  init: {
    readonly signal: AbortSignal
    readonly redirect: 'manual'
    readonly headers: Readonly<Record<string, string>>
  },
) => Promise<OriginResponse>

const UNRESERVED = /[A-Za-z0-9\-_.~]/
const HEADERS = { Accept: '*/*', 'Accept-Encoding': 'identity', 'User-Agent': 'rondo' }
/** Of a key: what some servers would take for a step to another folder. */
const DOTS = /(^|[/\\])\.{1,2}($|[/\\])/

export function urlOrigin(template: string, fetch: OriginFetch, maxValueBytes: number): LoadFunction {
  return async (key, { database, signal }) => {
    const url = urlFor(template, key, database)
    if (url === null) return null
    let response: OriginResponse
    try {
      response = await fetch(url, { signal, redirect: 'manual', headers: HEADERS })
    } catch (error) {
      if (error instanceof LoadFailure) throw error
      const { code, cause } = error as { code?: string; cause?: { code?: string } }
      throw new LoadFailure(`The origin could not be asked (${code ?? cause?.code ?? 'no connection'}).`)
    }
    const { status, body } = response
    if (status === 200) return valueOf(body, maxValueBytes)
    await dropped(body)
    if (status === 404 || status === 410) return null
    throw new LoadFailure(`The origin answered ${status}.`)
  }
}

/** Null = this key has no URL. */
export function urlFor(template: string, key: Buffer, database: number): string | null {
  if (key.length === 0 || DOTS.test(key.toString('latin1'))) return null
  const url = template.replaceAll('{key}', encoded(key)).replaceAll('{db}', String(database))
  // Parsing it must change nothing: neither host nor segments.
  return URL.canParse(url) && new URL(url).href === url ? url : null
}

function encoded(key: Buffer): string {
  let text = ''
  for (const byte of key) {
    const character = String.fromCharCode(byte)
    text += UNRESERVED.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return text
}

async function valueOf(body: OriginResponse['body'], maxValueBytes: number): Promise<Buffer> {
  const parts: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const part of body ?? []) {
      bytes += part.length
      if (bytes > maxValueBytes) {
        throw new LoadFailure(`The origin's value has more than ${maxValueBytes} bytes (MAX_VALUE_BYTES).`)
      }
      parts.push(part)
    }
  } catch (error) {
    if (error instanceof LoadFailure) throw error
    throw new LoadFailure('The connection to the origin broke in the middle of a value.')
  }
  return Buffer.concat(parts, bytes)
}

/** Ends the response without reading it. */
async function dropped(body: OriginResponse['body']): Promise<void> {
  await body?.[Symbol.asyncIterator]().return?.()
}
