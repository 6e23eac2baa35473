/** Snapshots of a coordinator in this process, over HTTP. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { call, type RawAnswer } from './raw-http.ts'
import type { RunningRondo } from './rondo.ts'

export interface JobView extends Record<string, unknown> {
  readonly id: string
  readonly kind: 'snapshot' | 'restore'
  readonly name: string
  readonly state: 'running' | 'finished' | 'failed' | 'cancelled'
  readonly error: string | null
  readonly failures?: Record<string, number>
}

export interface ListView {
  readonly snapshots: readonly { name: string; state: string; keys?: number; error?: string }[]
  readonly job: JobView | null
}

const LONGEST_MS = 20_000
const JSON_TYPE = { 'Content-Type': 'application/json' }

export function post(port: number, path: string, body?: object): Promise<RawAnswer> {
  return call(port, 'POST', path, body ? { headers: JSON_TYPE, body: JSON.stringify(body) } : {})
}

export async function listed(port: number): Promise<ListView> {
  return (await call(port, 'GET', '/snapshots')).json() as unknown as ListView
}

/** Waits for the end of a job. */
export async function ended(port: number, answer: RawAnswer): Promise<JobView> {
  expect(answer.status, answer.text).to.equal(202)
  const { job } = answer.json() as unknown as { job: JobView }
  for (const endMs = performance.now() + LONGEST_MS; ;) {
    const now = (await listed(port)).job
    if (now?.id === job.id && now.state !== 'running') return now
    expect(performance.now(), `${job.kind} ${job.name} does not end`).to.be.lessThan(endMs)
    await delay(5)
  }
}

export async function take({ ports }: RunningRondo, name: string): Promise<JobView> {
  return ended(ports.socket, await post(ports.socket, '/snapshots', { name }))
}

export async function restore({ ports }: RunningRondo, name: string): Promise<JobView> {
  return ended(ports.socket, await post(ports.socket, `/snapshots/${name}/restore`))
}
