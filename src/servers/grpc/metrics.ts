/** How long calls take, their errors, and the connections of the gRPC server. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { CODES } from '../../core/error-codes.ts'
import type { CallEnd } from './options.ts'

/** As over HTTP. */
const LATENCY_BUCKETS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

/** @returns observes a call that has ended */
export function registerGrpcMetrics(registry: Registry, connections: () => number): (end: CallEnd) => void {
  const registers = [registry]
  const calls = new Histogram({
    name: 'rondo_grpc_request_duration_seconds',
    help: 'How long calls over gRPC took, by method and status.',
    labelNames: ['method', 'status'] as const,
    buckets: LATENCY_BUCKETS_S,
    registers,
  })
  const errors = new Counter({
    name: 'rondo_grpc_errors_total',
    help: 'Errors that calls over gRPC were answered with, by code.',
    labelNames: ['code'] as const,
    registers,
  })
  for (const code of Object.keys(CODES)) errors.inc({ code }, 0) // a rate needs the value before the first one
  new Gauge({
    name: 'rondo_grpc_connections',
    help: 'Connections of the gRPC server.',
    registers,
    collect() {
      this.set(connections())
    },
  })
  // Methods and statuses are few.
  return ({ method, status, ms, error }) => {
    calls.observe({ method, status }, ms / 1000)
    if (error) errors.inc({ code: error.code })
  }
}
