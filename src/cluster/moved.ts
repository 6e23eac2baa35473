/**
 * A member at another address: whether what answers there is that member.
 *
 *   the same run of the server                  → it is, and has lost nothing
 *   its marker, but another run                 → it was restarted, or its data was copied to another machine: it may lack
 *                                                 writes, so it is brought what it lacks before it counts again
 *   the same, while the old address answers     → refused: both would take writes
 *   anything else                               → refused: another server replaces it
 */
import { RondoError } from '../core/errors.ts'
import { inWords, sentenceOf } from '../core/sentence.ts'
import { membersOf, type Topology } from '../core/topology.ts'
import type { NodeReport } from '../nodes/node.ts'
import { decodeMarker, encodeMarker, type Marker } from './marker.ts'
import type { Member } from './member.ts'

export interface Moved {
  readonly runId: string
  readonly bytes: Buffer
  readonly marker: Marker
}

/**
 * @param candidate at the new address
 * @param present at the old one
 * @throws RondoError UNAVAILABLE, CONFLICT
 */
export async function checkMoved(
  candidate: Member,
  present: Member | undefined,
  { cluster, ...topology }: Topology,
): Promise<Moved> {
  const { id, node } = candidate
  let report: NodeReport
  try {
    report = await node.probe()
  } catch (error) {
    const why = inWords(sentenceOf(error))
    throw new RondoError('UNAVAILABLE', `Node ${id} at ${node.address} cannot be used: ${why}.`)
  }
  const { marker: bytes, runId } = report
  const marker = bytes && decodeMarker(bytes)
  const life = membersOf({ cluster, ...topology }).find((one) => one.id === id)?.life ?? 1
  if (marker?.cluster !== cluster || marker.id !== id || (marker.topology?.life ?? 1) !== life) {
    throw new RondoError(
      'CONFLICT',
      `What answers at ${node.address} is not ${id}: it does not hold its marker. If another server is to take its place, replace it (POST /members/${id}/replace).`,
    )
  }
  if (runId !== present?.report?.runId && present?.node.ready) {
    throw new RondoError(
      'CONFLICT',
      `${id} still answers at ${present.node.address}, and another server with its data at ${node.address}: stop the old one first.`,
    )
  }
  return { runId, bytes: bytes!, marker }
}

/** It counts again once it was brought what it lacks. @throws RondoError CONFLICT */
export async function takeAsRestarted(
  { id, node }: Member,
  { runId, bytes, marker }: Moved,
  token: string,
): Promise<void> {
  const filling = encodeMarker({ ...marker, runId, token, state: 'filling' })
  if (await node.swapMarker(bytes, filling)) return
  throw new RondoError('CONFLICT', `The marker of ${id} at ${node.address} was changed meanwhile: ask again.`)
}
