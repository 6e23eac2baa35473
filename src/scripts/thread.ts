/** Runs in the thread of scripts (worker-thread.ts): a task comes in, its outcome goes out. */
import { parentPort } from 'node:worker_threads'
import { loadDigest } from '../commands/strings/digest.ts'
import { loadEngine } from './engine.ts'
import { carryOut } from './job.ts'
import { decodeTask, encodeOutcome } from './wire.ts'

const port = parentPort!
const [engine] = await Promise.all([loadEngine(), loadDigest()])

port.on('message', (bytes: Uint8Array) => {
  const answer = encodeOutcome(carryOut(engine, decodeTask(bytes)))
  port.postMessage(answer, [answer.buffer as ArrayBuffer])
})

port.postMessage('ready')
