/**
 * Moves between accounts as scripts: the commands, the overlay and Lua are the real ones, in this thread; a run takes some
 * virtual time, as it does in the thread of scripts. A script is given one of its keys, and names the other by itself, so that
 * it runs again.
 */
import type { Caller } from '../../src/commands/model.ts'
import { replyOf } from '../../src/commands/errors.ts'
import { RespError, type Reply } from '../../src/commands/reply.ts'
import { callScript, SCRIPT_COMMANDS } from '../../src/commands/scripts/call.ts'
import type { Code, Job } from '../../src/commands/scripts/api.ts'
import { Namers } from '../../src/commands/scripts/namers.ts'
import type { Coordinator } from '../../src/coordinator/coordinator.ts'
import type { Requester } from '../../src/coordinator/api.ts'
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import { Work } from '../../src/core/work.ts'
import { loadEngine } from '../../src/scripts/engine.ts'
import { carryOut, type Outcome } from '../../src/scripts/job.ts'
import type { Host } from './host.ts'
import { REQUEST_TIMEOUT_MS } from './world.ts'

const engine = await loadEngine()
const RUN_MS = 0.3
const MOVE = Buffer.from(`
  local from = tonumber(redis.call('get', KEYS[1]) or 0) - tonumber(ARGV[2])
  local to = tonumber(redis.call('get', ARGV[1]) or 0) + tonumber(ARGV[2])
  redis.call('set', KEYS[1], string.format('%.0f', from))
  redis.call('set', ARGV[1], string.format('%.0f', to))
  return {string.format('%.0f', from), string.format('%.0f', to)}`)

/** What the accounts hold then. Rejects with the coordinator's error. */
export async function moveByScript(
  coordinator: Coordinator,
  host: Host,
  requester: Requester,
  level: ConsistencyLevel,
  [from, to]: readonly string[],
  amount: number,
): Promise<number[]> {
  const args = ['eval', MOVE, '1', from!, to!, String(amount)].map((arg) => Buffer.from(arg as string))
  const caller = callerOf(coordinator, host, requester, level)
  const reply = await callScript(caller, args, SCRIPT_COMMANDS.eval!).catch(replyOf)
  if (reply instanceof RespError) throw reply.cause ?? new Error(reply.text)
  return (reply as readonly Reply[]).map((one) => Number((one as Buffer).toString()))
}

/** Of each process. */
const namers = new WeakMap<Host, Namers>()

function namersOf(host: Host): Namers {
  const own = namers.get(host) ?? new Namers()
  namers.set(host, own)
  return own
}

/** Of each process: scripts that it was asked about. */
const asked = new WeakMap<Host, number>()

/** Of three scripts one is taken for short and is, one turns out not to be, and one runs elsewhere. */
function turnOf(host: Host): number {
  const turn = ((asked.get(host) ?? 0) + 1) % 3
  asked.set(host, turn)
  return turn
}

/** A client of this coordinator, as far as commands need one. */
export function callerOf(
  coordinator: Coordinator,
  host: Host,
  requester: Requester,
  level: ConsistencyLevel,
): Caller {
  const limits = { maxValueBytes: 1e6, maxKeyBytes: 1024, maxCommandBytes: 1e8, maxReplyBytes: 1e8 }
  const own = {
    store: coordinator,
    readLevel: level,
    writeLevel: level,
    loader: null,
    added: 0,
    settings: { ...limits, database: 0, databases: 1, defaultTtlMs: 0, maxBatchKeys: 100, random: () => 0.5 },
    account: { mustWait: false, isRefused: false, add: () => undefined },
    work: new Work({ monotonicMs: () => host.monotonicMs(), timers: host }),
    lookedUp: () => undefined,
    scripts: {
      busy: null,
      namers: namersOf(host),
      ready: () => Promise.resolve(),
      dueAtMs: () => host.monotonicMs() + REQUEST_TIMEOUT_MS,
      sha: () => 'f'.repeat(40),
      remember: () => undefined,
      beginShort: () => null,
      endShort: () => undefined,
      isShort: () => turnOf(host) > 0,
      runShort: (job: Job) => (asked.get(host) === 1 ? carryOut(engine, { kind: 'run', job }) : null),
      run: (job: Job & { readonly code: Code }) =>
        new Promise<Outcome>((resolve) => {
          host.setTimeout(() => resolve(carryOut(engine, { kind: 'run', job })), RUN_MS)
        }),
    },
  }
  return Object.assign(Object.create(requester) as Requester, own) as unknown as Caller
}
