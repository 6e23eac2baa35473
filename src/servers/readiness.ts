/** Whether this coordinator can serve, as load balancers ask: `GET /readyz`, and the health service of gRPC. */
import type { KeyStore } from '../coordinator/api.ts'
import { RondoError } from '../core/errors.ts'

export interface Readiness {
  /** False once the process is about to stop. */
  readonly accepting: () => boolean
  readonly store: Pick<KeyStore, 'ready' | 'takesWrites' | 'nodes'>
}

/** Null, or the reason why it is not ready. */
export function notReady({ accepting, store }: Readiness): RondoError | null {
  if (!accepting()) return new RondoError('UNAVAILABLE', 'The process is stopping.')
  if (!store.ready) {
    // One reason for all of them is the coordinator's own: it has other members than the cluster.
    const [error, ...others] = new Set(store.nodes.map(({ lastError }) => lastError))
    const isOwn = error?.startsWith('refused: ') === true && others.length === 0
    const why = isOwn
      ? `No node can be used: all are ${error}.`
      : 'No node can be used yet; /status says why.'
    return new RondoError('UNAVAILABLE', why)
  }
  if (store.takesWrites) return null
  const reasons = [...new Set(store.nodes.flatMap(({ unwritable }) => unwritable ?? []))].sort()
  const why = reasons.length > 0 ? ` (${reasons.join(', ')})` : ''
  return new RondoError('UNAVAILABLE', `No node accepts writes${why}; /status says why.`)
}
