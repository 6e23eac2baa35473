/**
 * The checks of single settings: text in, value out. A message completes "NAME must be …".
 */
import { isIP } from 'node:net'
import { z } from 'zod'
import { parseTokens, TOKENS_MUST_BE } from './token-list.ts'
import { isNetwork } from './trusted-proxies.ts'
import { parseHost, parseNodeList, type Place } from './node-addresses.ts'

/** A name that leads to the addresses of servers, and how to talk to them. */
export interface DiscoveryName {
  readonly at: Place
  readonly tls: boolean
}

const FILE_PATH = /^(?!-----)[^\0\r\n]{1,4096}$/

export function inRange(text: string, min: number, max: number): boolean {
  return /^(0|[1-9]\d*)$/.test(text) && Number(text) >= min && Number(text) <= max
}

export function wholeNumber(min: number, max: number): z.ZodType<number, string> {
  return z
    .string()
    .refine((text) => inRange(text, min, max), `a whole number from ${min} to ${max}`)
    .transform(Number)
}

const BYTES_PER = { '': 1, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 }

export function size(min: number, max: number): z.ZodType<number, string> {
  return z.string().transform((text, ctx) => {
    const [, digits = '', suffix = ''] = /^([1-9]\d{0,14}|0)(kib|mib|gib)?$/i.exec(text) ?? []
    const bytes =
      digits === '' ? NaN : Number(digits) * BYTES_PER[suffix.toLowerCase() as keyof typeof BYTES_PER]
    if (!(bytes >= min && bytes <= max))
      ctx.addIssue({
        code: 'custom',
        message: `a whole number of bytes from ${min} to ${max}, or one with KiB, MiB or GiB behind it`,
      })
    return bytes
  })
}

export function oneOf<const T extends string>(words: readonly T[]): z.ZodType<T, string> {
  return z
    .string()
    .refine((text): text is T => (words as readonly string[]).includes(text), `one of ${words.join(', ')}`)
}

/** `off` = null. */
export function portOrOff(): z.ZodType<number | null, string> {
  return z
    .string()
    .refine((text) => text === 'off' || inRange(text, 0, 65_535), 'a whole number from 0 to 65535, or off')
    .transform((text) => (text === 'off' ? null : Number(text)))
}

export function flag(): z.ZodType<boolean, string> {
  return oneOf(['true', 'false']).transform((text) => text === 'true')
}

export function tokens(): z.ZodType<readonly string[], string> {
  return z.string().transform((text, ctx) => {
    const found = parseTokens(text)
    if (!found) ctx.addIssue({ code: 'custom', message: TOKENS_MUST_BE })
    return found ?? []
  })
}

export function discoveryUrl(): z.ZodType<DiscoveryName, string> {
  return z.string().transform((text, ctx) => {
    const [node, ...others] = parseNodeList(text).nodes
    const isPlain = /^rediss?:\/\/[^@?,]+$/i.test(text)
    if (!node || others.length > 0 || !isPlain || isIP(node.host) !== 0) {
      ctx.addIssue({
        code: 'custom',
        message:
          'redis://name:port, or rediss:// for TLS, with one DNS name and no user, password, weight or zone (users and ' +
          'passwords come from REDIS_URLS)',
      })
      return { at: { host: '', port: 0 }, tls: false }
    }
    const { host, port, tls } = node
    return { at: { host, port }, tls }
  })
}

export function networks(): z.ZodType<readonly string[], string> {
  return z.string().transform((text, ctx) => {
    const found = text.split(',').map((one) => one.trim())
    if (!found.every(isNetwork))
      ctx.addIssue({
        code: 'custom',
        message: 'IP addresses and networks, separated by commas, such as 10.0.0.7,192.168.0.0/16,fd00::/8',
      })
    return found
  })
}

/** In lower case and without ports. A wildcard is allowed only as `*.` at the start. */
export function hostNames(): z.ZodType<readonly string[], string> {
  return z.string().transform((text, ctx) => {
    const names = text.split(',').map((name) => name.trim())
    const parsed = names.map((name) => {
      const host = parseHost(name.replace(/^\*\./, ''))
      return host !== null && name.startsWith('*.') ? `*.${host}` : host
    })
    if (!parsed.every((name) => name !== null)) {
      ctx.addIssue({
        code: 'custom',
        message:
          'host names or IP addresses without ports, separated by commas, such as cache.example.com,*.corp.example',
      })
      return []
    }
    return parsed
  })
}

/** Whether a text may be the path of a file, and not what stands in it. */
export function isFilePath(text: string): boolean {
  return FILE_PATH.test(text)
}

export function folderPath(): z.ZodType<string, string> {
  return z.string().regex(FILE_PATH, 'the path of a folder')
}

export function filePath(what = 'a PEM file'): z.ZodType<string, string> {
  return z.string().regex(FILE_PATH, `the path of ${what}, not what stands in it`)
}
