/**
 * The part of fetch() that origin.ts needs, over node:http and node:https: it connects only to addresses that are allowed,
 * which it checks where they are resolved, so that a name cannot lead elsewhere between check and use. It follows no redirect.
 */
import { lookup as lookUp } from 'node:dns'
import { Agent as HttpAgent, request as requestHttp, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as requestHttps } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { plainHost, type OriginAddresses } from '../config/origin-addresses.ts'
import { LoadFailure } from './api.ts'
import type { OriginFetch, OriginResponse } from './origin.ts'

const IDENTITY = 'identity'
/** Idle connections are kept for the next call. */
const KEPT = { keepAlive: true, maxFreeSockets: 16, timeout: 30_000 }

export class GuardedFetch {
  private readonly addresses: OriginAddresses
  private readonly agents = { http: new HttpAgent(KEPT), https: new HttpsAgent(KEPT) }

  constructor(addresses: OriginAddresses) {
    this.addresses = addresses
  }

  readonly fetch: OriginFetch = async (text, init) => {
    const url = new URL(text)
    const host = plainHost(url.hostname)
    if (isIP(host) !== 0 && !this.addresses.allows(host, host)) throw refused(host)
    try {
      return await this.send(url, init)
    } catch (error) {
      // A kept connection that the origin has closed meanwhile: nothing was answered on it.
      if (error instanceof Error && 'isReused' in error && !init.signal.aborted) return this.send(url, init)
      throw error
    }
  }

  close(): void {
    this.agents.http.destroy()
    this.agents.https.destroy()
  }

  private send(url: URL, { signal, headers }: Parameters<OriginFetch>[1]): Promise<OriginResponse> {
    const isTls = url.protocol === 'https:'
    const { agents } = this
    return new Promise((resolve, reject) => {
      const options = { headers, signal, lookup: this.lookup, agent: isTls ? agents.https : agents.http }
      const sent = (isTls ? requestHttps : requestHttp)(url, options, (response) => {
        const answer = answerOf(response)
        if (answer instanceof LoadFailure) reject(answer)
        else resolve(answer)
      })
      sent.on('error', (error: NodeJS.ErrnoException) => {
        const isReset = error.code === 'ECONNRESET' || error.code === 'EPIPE'
        reject(sent.reusedSocket && isReset ? Object.assign(error, { isReused: true }) : error)
      })
      sent.end()
    })
  }

  private readonly lookup: LookupFunction = (host, options, found) => {
    lookUp(host, { ...options, all: true }, (error, all) => {
      if (error) {
        found(error, [])
        return
      }
      const allowed = all.filter(({ address }) => this.addresses.allows(host.toLowerCase(), address))
      const [first] = allowed
      if (!first) found(refused(host), [])
      else if (options.all) found(null, allowed)
      else found(null, first.address, first.family)
    })
  }
}

/** A failure if the body is encoded, although that was not asked for: clients would get it so, and not know it. */
function answerOf(response: IncomingMessage): OriginResponse | LoadFailure {
  const { statusCode: status = 0, headers } = response
  const encoding = (headers['content-encoding'] ?? IDENTITY).trim().toLowerCase()
  if (status === 200 && encoding !== IDENTITY) {
    response.destroy()
    return new LoadFailure("The origin's value is encoded (Content-Encoding), which it was asked not to do.")
  }
  return { status, body: response }
}

function refused(host: string): LoadFailure {
  return new LoadFailure(
    `The origin ${host} has no address that may be asked: LOADER_ALLOW names private ones.`,
  )
}
