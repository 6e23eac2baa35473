/** The Lua scripts of a Redis node, and the encoded start of their calls. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { encodeCommand } from './link.ts'

export interface Script {
  readonly text: Buffer
  readonly sha: string
}

function loadScript(name: string): Script {
  const text = readFileSync(new URL(`./${name}.lua`, import.meta.url))
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

/** The start of a script call: EVALSHA, and EVAL with the script's text. */
export interface ScriptHeads {
  readonly bySha: Buffer
  readonly withText: Buffer
}

/** @param argCount number of ARGV */
export function headsOf(script: Script, argCount: number, keyCount = 1): ScriptHeads {
  const count = Buffer.from(`*${3 + keyCount + argCount}\r\n`)
  const part = (args: (string | Buffer)[]) => encodeCommand(args).subarray('*3\r\n'.length)
  return {
    bySha: Buffer.concat([count, part(['EVALSHA', script.sha, String(keyCount)])]),
    withText: Buffer.concat([count, part(['EVAL', script.text, String(keyCount)])]),
  }
}

export const STORE = loadScript('store')
export const PATCH = loadScript('patch')
export const SWAP_MARKER = loadScript('swap-marker')
export const HINT = loadScript('hint')
export const DROP_HINT = loadScript('drop-hint')
export const DROP_COPY = loadScript('drop-copy')
export const CHECK_IN = loadScript('check-in')
export const EMPTY = loadScript('empty')
export const STAMP = loadScript('stamp')
export const DROP_BELOW = loadScript('drop-below')
export const DROP_OLDER = loadScript('drop-older')
export const LEASE = loadScript('lease')
export const PEEK = loadScript('peek')
export const PREPARE = loadScript('prepare')
export const ACCEPT = loadScript('accept')
export const STORE_ALL = loadScript('store-all')
export const FOREIGN = loadScript('foreign')
export const SCAN = loadScript('scan')
export const CHECK_PERMISSIONS = loadScript('check-permissions')
