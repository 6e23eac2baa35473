/**
 * Several coordinators on one port: a primary process that forks WORKERS of them, replaces those that die, and adds up
 * their metrics. Each worker is a coordinator of its own; they share nothing but the socket.
 */
import cluster, { type Worker } from 'node:cluster'
import type { Logger } from 'pino'
import { AggregatorRegistry } from 'prom-client'
import type { Telemetry } from './telemetry.ts'

/** A worker that dies sooner than this after its start is not replaced at once. */
const SHORT_LIFE_MS = 5000
const RESTART_DELAY_MS = 1000

type Metrics = { contentType: string; text: string }
type Ask = { rondo: 'metrics?'; id: number }
type Answer = { rondo: 'metrics'; id: number } & Metrics

/** Runs the primary until every worker has ended. */
export function runPrimary(count: number, log: Logger, onListening: () => void): { stop(): Promise<void> } {
  const metrics = new AggregatorRegistry()
  let stopping = false
  let listening = 0

  const fork = () => {
    const startedAtMs = Date.now()
    const worker = cluster.fork()
    worker.once('listening', () => {
      if (++listening === count) onListening()
    })
    worker.on('message', (message: Ask) => void answer(worker, message))
    worker.once('exit', (code, signal) => {
      if (stopping) return
      log.error(`worker ${worker.process.pid} ended (${signal ?? `code ${code}`}); another takes its place`)
      // One that cannot start must not be forked in a loop.
      setTimeout(fork, Date.now() - startedAtMs < SHORT_LIFE_MS ? RESTART_DELAY_MS : 0)
    })
  }

  const answer = async (worker: Worker, message: Ask) => {
    if (message?.rondo !== 'metrics?') return
    const text = await metrics.clusterMetrics().catch((error: unknown) => `# ${String(error)}\n`)
    if (worker.isConnected()) {
      worker.send({
        rondo: 'metrics',
        id: message.id,
        contentType: metrics.contentType,
        text,
      } satisfies Answer)
    }
  }

  for (let i = 0; i < count; i++) fork()
  return {
    async stop() {
      stopping = true
      const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined)
      await Promise.all(
        workers.map((worker) => {
          const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
          worker.process.kill('SIGTERM')
          return ended
        }),
      )
    },
  }
}

/** In a worker: the metrics of all workers, asked for at the primary. */
export function sharedMetrics(): () => Promise<Metrics> {
  let lastId = 0
  const waiting = new Map<number, (metrics: Metrics) => void>()
  process.on('message', (message: Answer) => {
    if (message?.rondo !== 'metrics') return
    waiting.get(message.id)?.(message)
    waiting.delete(message.id)
  })
  return () =>
    new Promise((resolve) => {
      const id = ++lastId
      waiting.set(id, resolve)
      process.send!({ rondo: 'metrics?', id } satisfies Ask)
    })
}

/** From now on the primary can ask this worker for its metrics. */
export function shareRegistry(registry: Telemetry['registry']): void {
  AggregatorRegistry.setRegistries(registry)
  new AggregatorRegistry() // listens for the primary's question
}
