import type { Clock, Timers } from '../../../core/clock.ts'
import type { MemoryStorage, Recorder } from '../memory-storage.ts'
import type { Loaded } from './load.ts'

const ENTRIES_PER_TURN = 2000

/** Fills the storage with what was read from the disk, and has it tell the recorder what changes from now on. */
export async function restore(
  storage: MemoryStorage,
  { entries, hints, notes, evictedKeys }: Loaded,
  recorder: Recorder,
  { clock, timers }: { readonly clock: Clock; readonly timers: Timers },
): Promise<void> {
  const nowMs = clock.wallMs()
  let count = 0
  const letOthersRun = async () => {
    if (++count % ENTRIES_PER_TURN === 0) await new Promise<void>((next) => timers.endOfTurn(next))
  }
  storage.evictedKeys = evictedKeys
  // What does not fit any more goes while it is read, and the log is told so.
  storage.recorder = recorder
  for (const [name, { bytes, endsAtMs }] of entries) {
    if (endsAtMs > nowMs && !storage.restore(name, bytes, endsAtMs - nowMs)) storage.evictedKeys++
    await letOthersRun()
  }
  storage.recorder = null
  for (const [target, all] of hints) {
    for (const [name, version] of all) {
      storage.hintsFor(target).note({ key: Buffer.from(name, 'latin1'), version }, Infinity)
      await letOthersRun()
    }
  }
  for (const [id, [text, atMs]] of notes) storage.notes.restore(id, text, atMs)
  storage.recorder = recorder
}
