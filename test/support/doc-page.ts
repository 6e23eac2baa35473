/** The commands of a page in docs/, with what it says that they print. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { RawResp } from './raw-resp.ts'

export interface Shown {
  readonly command: string
  readonly printed: string
}

/** The commands in the console blocks of a page, in order. */
export function shownIn(page: string): readonly Shown[] {
  return [...page.matchAll(/^```console\n([^]*?)^```$/gm)].flatMap(([, block]) =>
    block!
      .split(/^\$ /m)
      .slice(1)
      .map((part) => ({
        command: part.slice(0, part.indexOf('\n')),
        printed: part.slice(part.indexOf('\n') + 1),
      })),
  )
}

/** Runs it as the page's reader would: at these servers. @param port of HTTP */
export async function runShown(command: string, redis: RawResp, port: number): Promise<string> {
  const [, args] = /^redis-cli -p 6390 (.+)$/.exec(command) ?? []
  if (args !== undefined) return printedOf(await redis.ask(...args.split(' ')))
  const here = command.replace('localhost:8080', `localhost:${port}`)
  const line = here.replace(/^curl /, 'curl -sS --noproxy "*" ')
  return (await promisify(execFile)('sh', ['-c', line])).stdout
}

/** A reply of RESP2 as redis-cli prints it at a terminal. */
function printedOf(reply: string): string {
  let at = 0
  const print = (indent: string): string => {
    const end = reply.indexOf('\r\n', at)
    const [mark, rest] = [reply[at], reply.slice(at + 1, end)]
    at = end + 2
    if (mark === '+') return rest
    if (mark === '-') return `(error) ${rest}`
    if (mark === ':') return `(integer) ${rest}`
    const count = Number(rest)
    if (count < 0) return '(nil)'
    if (mark === '$') {
      at += count + 2
      return `"${reply.slice(at - count - 2, at - 2)}"`
    }
    if (count === 0) return '(empty array)'
    const digits = String(count).length
    const items = Array.from({ length: count }, (_, i) => {
      const place = `${String(i + 1).padStart(digits)}) `
      return `${i === 0 ? '' : indent}${place}${print(`${indent}${' '.repeat(place.length)}`)}`
    })
    return items.join('\n')
  }
  return print('')
}
