/** A run for people: its schedule, what came of every operation, and what was wrong. */
import { isOnCollection } from './collections.ts'
import { ALL_SERVERS, FOREIGN_SERVER, type Fault } from './schedule.ts'
import type { RunResult } from './simulate.ts'
import { nameOf, type Done } from './workload.ts'

export function printRun(result: RunResult): string {
  const { schedule, history } = result
  const { seed, servers, spares, replicas, coordinators, durable, healAt, faults } = schedule
  const from = result.foundedAtMs
  const lines: { at: number; text: string }[] = [
    ...faults.map((fault) => ({ at: fault.at, text: `    ${textOf(fault)}` })),
    ...history.map((done) => ({ at: done.startMs - from, text: resultOf(done, from) })),
  ]
  const rows = lines
    .sort((a, b) => a.at - b.at)
    .map(({ at, text }) => `${at.toFixed(1).padStart(8)}  ${text}`)
  const head = `seed ${seed}: ${servers} servers${spares ? ` and ${spares} spare` : ''}${durable ? ' (durable)' : ''}, ${replicas} replicas, ${coordinators} coordinators, healed at ${healAt.toFixed(0)} ms`
  return [head, ...rows, ...result.violations.map((violation) => `  VIOLATED ${violation}`)].join('\n')
}

function resultOf(done: Done, from: number): string {
  const { operation, outcome, result, error } = done
  const { kind } = operation
  const sees = kind === 'read' || kind === 'incr' || kind === 'take' || isOnCollection(kind)
  if (outcome === 'ok' && done.balances.length > 0) {
    return `${nameOf(done)} via c${operation.coordinator} → ${done.balances.join(', ')} (${(done.endMs - from).toFixed(1)})`
  }
  const told =
    outcome === 'ok' ? (sees ? String(result ?? 'nothing') : result === 0 ? 'refused' : 'ok') : outcome
  const end = done.endMs === Infinity ? 'never' : (done.endMs - from).toFixed(1)
  return `${nameOf(done)} via c${operation.coordinator} → ${told} (${end}${error ? `, ${error}` : ''})`
}

export function textOf(fault: Fault): string {
  const { kind, ...rest } = fault
  const of = Object.entries(rest).flatMap(([name, value]) => {
    if (name === 'at') return []
    if (name === 'server' || name === 'other')
      return value === FOREIGN_SERVER ? 'foreign' : value === ALL_SERVERS ? 'all' : `s${String(value)}`
    return name === 'coordinator' ? `c${String(value)}` : `${name} ${String(value)}`
  })
  return `*** ${kind} ${of.join(', ')}`
}
