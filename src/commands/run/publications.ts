/** What scripts have published. As with PUBLISH, at most once: what cannot be sent is lost. */
import type { Caller } from '../model.ts'
import type { Publication } from '../step.ts'

/** Under way at once. */
const MOST_AT_ONCE = 128
const MESSAGE_BYTES = 64

/** Hands them to the channels, in their order. */
export async function publish({ store }: Pick<Caller, 'store'>, all: readonly Publication[]): Promise<void> {
  for (let from = 0; from < all.length; from += MOST_AT_ONCE) {
    const sent = all
      .slice(from, from + MOST_AT_ONCE)
      .map(({ kind, channel, message }) => store.channels.publish(kind, channel, message))
    await Promise.allSettled(sent)
  }
}

/** About the memory that they take until they are sent. */
export function publicationBytes(all: readonly Publication[]): number {
  return all.reduce((sum, { channel, message }) => sum + channel.length + message.length + MESSAGE_BYTES, 0)
}
