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

/** A reply as redis-cli prints it at a terminal. */
function printedOf(reply: string): string {
  const [first = '', ...rest] = reply.split('\r\n')
  if (first.startsWith('*')) {
    const items: string[] = []
    for (let at = 0; rest[at] !== '';) {
      const isNil = rest[at] === '$-1'
      items.push(`${items.length + 1}) ${isNil ? '(nil)' : `"${rest[at + 1]}"`}`)
      at += isNil ? 1 : 2
    }
    return items.join('\n')
  }
  if (first === '$-1') return '(nil)'
  if (first.startsWith('$')) return `"${rest[0]}"`
  if (first.startsWith('-')) return `(error) ${first.slice(1)}`
  return first.startsWith(':') ? `(integer) ${first.slice(1)}` : first.slice(1)
}
