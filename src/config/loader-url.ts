/** LOADER_URL, the template of the origin's addresses, and LOADER_ALLOW. */
import { parseHost } from './node-addresses.ts'
import { isNetwork } from './trusted-proxies.ts'

/** Stand for the placeholders while the URL is parsed. */
const STAND_INS = { '{key}': 'rondo-key-stands-here', '{db}': 'rondo-db-stands-here' } as const

/** In its normal form, so that a URL made of it changes by parsing only if the key would change its path; null = it is none. */
export function parseLoaderUrl(text: string): string | null {
  const [, , rest] = /^(https?):\/\/[^/?#{}\s]+([/?].*)$/i.exec(text) ?? []
  if (rest === undefined || !rest.includes('{key}') || /[{}]/.test(rest.replaceAll(/\{(key|db)\}/g, '')))
    return null
  let stoodIn = text
  for (const [placeholder, standIn] of Object.entries(STAND_INS))
    stoodIn = stoodIn.replaceAll(placeholder, standIn)
  if (!URL.canParse(stoodIn)) return null
  const url = new URL(stoodIn)
  if (url.username !== '' || url.password !== '' || text.includes('#')) return null
  let { href } = url
  for (const [placeholder, standIn] of Object.entries(STAND_INS)) href = href.replaceAll(standIn, placeholder)
  return href
}

/** What LOADER_ALLOW names. */
export interface LoaderAllow {
  /** In lower case; `*.example.com` stands for all below it. */
  readonly hosts: readonly string[]
  readonly networks: readonly string[]
}

export const NOTHING_ALLOWED: LoaderAllow = { hosts: [], networks: [] }

/** Null = one of them is neither a network nor a host name. */
export function parseLoaderAllow(text: string): LoaderAllow | null {
  const hosts: string[] = []
  const networks: string[] = []
  for (const one of text.split(',').map((name) => name.trim())) {
    if (isNetwork(one)) {
      networks.push(one)
      continue
    }
    const host = parseHost(one.replace(/^\*\./, ''))
    if (host === null) return null
    hosts.push(one.startsWith('*.') ? `*.${host}` : host)
  }
  return { hosts, networks }
}
