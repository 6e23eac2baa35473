/** What scripts have published. As with PUBLISH, at most once: what cannot be sent is lost. */
import type { Caller } from '../model.ts'
import type { Publication } from '../step.ts'

/** Hands them to the channels, in their order. */
export async function publish({ store }: Pick<Caller, 'store'>, all: readonly Publication[]): Promise<void> {
  if (all.length === 0) return
  const sent = all.map(({ kind, channel, message }) => store.channels.publish(kind, channel, message))
  await Promise.allSettled(sent)
}
