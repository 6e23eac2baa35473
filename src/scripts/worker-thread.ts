/** The thread that runs scripts, as its owner sees it. thread.ts is what runs in it. */
import { Worker } from 'node:worker_threads'
import { RespError } from '../commands/reply.ts'
import { sentenceOf } from '../core/sentence.ts'
import type { Outcome, Task } from './job.ts'
import type { ScriptThread, ThreadCalls } from './runner.ts'
import { decodeOutcome, encodeTasks } from './wire.ts'

/** Of values and replies; what scripts themselves hold is limited by the engine. */
const HEAP_MIB = 512

/** Built, it is JavaScript. The sources need tsx, whose hooks do not reach a thread by themselves. */
const isBuilt = !import.meta.url.endsWith('.ts')
const THREAD = new URL(`./thread.${isBuilt ? 'js' : 'ts'}`, import.meta.url)
const FROM_SOURCES = `import('tsx/esm/api').then(({ register }) => {
  register()
  return import(${JSON.stringify(THREAD.href)})
})`

/** @param wantsMetered to be told the engine that runs short scripts in this thread (short-runs.ts) */
export function startThread(calls: ThreadCalls, wantsMetered: boolean): ScriptThread {
  const options = { resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB }, workerData: { wantsMetered } }
  const worker = isBuilt ? new Worker(THREAD, options) : new Worker(FROM_SOURCES, { ...options, eval: true })
  // A process that has nothing else to do may end.
  worker.unref()
  let isEnded = false
  worker.on('message', (message: Uint8Array | { readonly module: WebAssembly.Module | null }) => {
    if ('module' in message) calls.ready(message.module)
    else calls.outcome(outcomeIn(message))
  })
  worker.on('error', (error) => {
    isEnded = true
    calls.failed(whyOf(error))
  })
  worker.on('exit', (code) => {
    if (!isEnded) calls.failed(`The thread of scripts has ended (${code}).`)
    isEnded = true
  })
  // Those of one turn go together: to wake a thread costs more than most scripts.
  let tasks: Task[] = []
  const post = () => {
    const bytes = encodeTasks(tasks)
    tasks = []
    if (!isEnded) worker.postMessage(bytes, [bytes.buffer as ArrayBuffer])
  }
  return {
    send: (task) => {
      if (tasks.push(task) === 1) setImmediate(post)
    },
    end: () => {
      isEnded = true
      void worker.terminate()
    },
  }
}

/** A fault of reading one is that script's, and not of the process. */
function outcomeIn(message: Uint8Array): Outcome {
  try {
    return decodeOutcome(message)
  } catch (error) {
    return {
      reply: new RespError(`ERR The result of the script cannot be read: ${sentenceOf(error)}.`, true),
    }
  }
}

function whyOf(error: Error & { code?: string }): string {
  if (error.code === 'ERR_WORKER_OUT_OF_MEMORY') return 'Script has used too much memory.'
  return `Script has failed: ${sentenceOf(error)}.`
}
