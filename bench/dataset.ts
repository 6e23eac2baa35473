/** What is stored and asked for: the same keys and values for every target, and files of requests for the generators. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { temporaryFolder } from './processes.ts'

export const KEYS = 10_000
export const VALUE_BYTES = 100
export const REPLICAS = 3

export type Op = 'GET' | 'PUT'
export const OPS: readonly Op[] = ['GET', 'PUT']

/** `fill` stores before the load, `load` in the PUT phase: their values differ, so that a check can tell them apart. */
export type Writer = 'fill' | 'load'

export function keyAt(i: number): string {
  return `bench:key:${String(i).padStart(5, '0')}`
}

export function valueAt(i: number, writer: Writer): string {
  return `${writer}:${i}:`.padEnd(VALUE_BYTES, 'abcdefghijklmnopqrstuvwxyz0123456789')
}

export const pathInApi = (key: string) => `/api/v1/keys/${encodeURIComponent(key)}`

/** One request a line: a path, and for PUT a tab and the JSON body. */
export async function requestFile(name: string, op: Op, pathOf: (key: string) => string): Promise<string> {
  const lines = Array.from({ length: KEYS }, (_, i) => {
    const path = pathOf(keyAt(i))
    return op === 'GET' ? path : `${path}\t${JSON.stringify({ value: valueAt(i, 'load') })}`
  })
  const file = join(temporaryFolder(), `${name}-${op}.tsv`)
  await writeFile(file, lines.join('\n') + '\n')
  return file
}
