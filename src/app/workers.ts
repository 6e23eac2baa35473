/**
 * Several coordinators on one port: a primary process that forks WORKERS of them, replaces those that die, and adds up
 * their metrics. Each worker is a coordinator of its own; they share only the socket.
 */
import cluster, { type Worker } from 'node:cluster'
import type { Logger } from 'pino'
import { AggregatorRegistry } from 'prom-client'
import { RondoError } from '../core/errors.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { sentenceOf } from '../core/sentence.ts'

/** A worker that dies sooner than this after its start is replaced after a delay. */
const SHORT_LIFE_MS = 5000
const RESTART_DELAY_MS = 1000

type Metrics = { contentType: string; text: string }
type Ask = { rondo: 'metrics?'; id: number }
type Reload = { rondo: 'reload' }
type Listening = { rondo: 'listening'; ports: Ports }
type Answer = { rondo: 'metrics'; id: number } & (Metrics | { failed: string })

/** By server (`http`, `resp`), where it listens. */
export type Ports = Readonly<Record<string, number>> & { readonly http: number }

export interface PrimaryCalls {
  /** All workers listen. */
  listening(ports: Ports): void
  /** A worker ended itself before any of them listened: it said why. No more are forked. @param why how it ended */
  cannotStart(why: string): void
}

/** Runs the primary until every worker has ended. */
export function runPrimary(
  count: number,
  log: Logger,
  calls: PrimaryCalls,
): { stop(): Promise<void>; reload(): void } {
  const metrics = new AggregatorRegistry()
  let stopping = false
  /** Workers that listen. */
  const listening = new Set<Worker>()
  let hasListened = false
  let announced = false

  const onListening = (worker: Worker, { ports }: Listening) => {
    listening.add(worker)
    hasListened = true
    if (announced || listening.size < count) return
    announced = true
    calls.listening(ports)
  }

  const fork = () => {
    const startedAtMs = Date.now()
    const worker = cluster.fork()
    worker.on('message', (message: Ask | Listening) => {
      if (message?.rondo === 'listening') onListening(worker, message)
      if (message?.rondo === 'metrics?') void answer(worker, message)
    })
    worker.once('exit', (code, signal) => {
      listening.delete(worker)
      if (stopping) return
      // One that was killed (for its memory, say) has not said that it cannot start.
      if (!hasListened && signal === null) {
        stopping = true
        calls.cannotStart(`code ${code}`)
        return
      }
      log.error(`worker ${worker.process.pid} ended (${signal ?? `code ${code}`}); starting another`)
      // Do not fork in a tight loop.
      const delayMs = Date.now() - startedAtMs < SHORT_LIFE_MS ? RESTART_DELAY_MS : 0
      setTimeout(() => {
        if (!stopping) fork()
      }, delayMs)
    })
  }

  const answer = async (worker: Worker, message: Ask) => {
    const found = await metrics.clusterMetrics().then(
      (text) => ({ contentType: metrics.contentType, text }),
      (error: unknown) => ({ failed: sentenceOf(error) }),
    )
    if (worker.isConnected()) worker.send({ rondo: 'metrics', id: message.id, ...found } satisfies Answer)
  }

  const allWorkers = () => Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined)

  for (let i = 0; i < count; i++) fork()
  return {
    /** By message, not by signal: a signal would kill a worker that was just forked. */
    reload() {
      for (const worker of allWorkers()) {
        if (worker.isConnected()) worker.send({ rondo: 'reload' } satisfies Reload)
      }
    },
    async stop() {
      stopping = true
      const workers = allWorkers()
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

/** In a worker: all of its servers listen. */
export function reportListening(ports: Ports): void {
  process.send!({ rondo: 'listening', ports } satisfies Listening)
}

/** In a worker: whenever the primary is asked to read files again. */
export function onReload(run: () => void): void {
  process.on('message', (message: Reload) => {
    if (message?.rondo === 'reload') run()
  })
}

/** In a worker: fetches the metrics of all workers from the primary. */
export function sharedMetrics(): () => Promise<Metrics> {
  let lastId = 0
  const waiting = new Map<number, (answer: Answer) => void>()
  process.on('message', (message: Answer) => {
    if (message?.rondo !== 'metrics') return
    waiting.get(message.id)?.(message)
    waiting.delete(message.id)
  })
  return () =>
    new Promise((resolve, reject) => {
      const id = ++lastId
      waiting.set(id, (answer) => {
        if (!('failed' in answer)) resolve(answer)
        else reject(new RondoError('UNAVAILABLE', `Not all workers reported their metrics: ${answer.failed}`))
      })
      process.send!({ rondo: 'metrics?', id } satisfies Ask)
    })
}

/** Lets the primary ask this worker for its metrics. */
export function shareRegistry(registry: Telemetry['registry']): void {
  AggregatorRegistry.setRegistries(registry)
  new AggregatorRegistry() // listens for the primary's question
}
