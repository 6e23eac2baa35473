/** Runs in the thread of scripts (worker-thread.ts): tasks come in, the outcome of each goes out when it is done. */
import { parentPort } from 'node:worker_threads'
import { loadDigest } from '../commands/strings/digest.ts'
import { loadEngine } from './engine.ts'
import { carryOut } from './job.ts'
import { decodeTasks, encodeOutcome } from './wire.ts'

const port = parentPort!
const [engine] = await Promise.all([loadEngine(), loadDigest()])

port.on('message', (bytes: Uint8Array) => {
  for (const task of decodeTasks(bytes)) {
    const answer = encodeOutcome(carryOut(engine, task))
    port.postMessage(answer, [answer.buffer as ArrayBuffer])
  }
})

port.postMessage('ready')
