/** A CPU profile of a target under load, taken through preload.mjs, and its summary: which functions the time went to. */
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

const WRITE_LIMIT_MS = 20_000

/** Profiles the process while `load` runs. Returns when `file` is written. */
export async function profileDuring(pid: number, file: string, load: () => Promise<unknown>): Promise<void> {
  process.kill(pid, 'SIGWINCH')
  await load()
  process.kill(pid, 'SIGWINCH')
  const deadline = performance.now() + WRITE_LIMIT_MS
  while (!existsSync(file)) {
    if (performance.now() > deadline) throw new Error(`${file} was not written in time`)
    await delay(50)
  }
}

interface Profile {
  nodes: {
    id: number
    callFrame: { functionName: string; url: string; lineNumber: number }
  }[]
  samples: number[]
  timeDeltas: number[]
}

/** The functions with the most self time, one a line, as shares of the time that the process was not idle. */
export function summarise(file: string, count: number): string {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8')) as Profile
  const nameOf = new Map(nodes.map(({ id, callFrame }) => [id, shortName(callFrame)]))
  const micros = new Map<string, number>()
  let busy = 0
  samples.forEach((id, i) => {
    const name = nameOf.get(id) ?? '?'
    if (name === '(idle)') return
    busy += timeDeltas[i]!
    micros.set(name, (micros.get(name) ?? 0) + timeDeltas[i]!)
  })
  const top = [...micros].sort((a, b) => b[1] - a[1]).slice(0, count)
  return top.map(([name, time]) => `${((100 * time) / busy).toFixed(1).padStart(6)} %  ${name}`).join('\n')
}

function shortName({ functionName, url, lineNumber }: Profile['nodes'][number]['callFrame']): string {
  const place = url.replace(/^file:\/\//, '').replace(/^.*\/(dist|node_modules|bench)\//, '$1/')
  const name = functionName === '' ? '(anonymous)' : functionName
  return place === '' ? name : `${name}  ${place}:${lineNumber + 1}`
}
