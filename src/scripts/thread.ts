/** Runs in the thread of scripts (worker-thread.ts): tasks come in, the outcome of each goes out when it is done. */
import { parentPort, workerData } from 'node:worker_threads'
import { loadDigest } from '../commands/strings/digest.ts'
import { loadEngine } from './engine.ts'
import { carryOut } from './job.ts'
import { meteredModule } from './lua/engine.ts'
import { decodeTasks, encodeOutcome } from './wire.ts'

/** Longer than nearly all scripts, and shorter than what one may take in the thread that has the keys. */
const SHORT_MS = 0.5

const port = parentPort!
const { wantsMetered } = workerData as { readonly wantsMetered: boolean }
const [engine, module] = await Promise.all([
  loadEngine(),
  wantsMetered ? meteredModule() : null,
  loadDigest(),
])

port.on('message', (bytes: Uint8Array) => {
  for (const task of decodeTasks(bytes)) {
    const startedAtMs = performance.now()
    const outcome = carryOut(engine, task)
    const answer = encodeOutcome(outcome, performance.now() - startedAtMs < SHORT_MS)
    port.postMessage(answer, [answer.buffer as ArrayBuffer])
  }
})

port.postMessage({ module })
