/** SCRIPT EXISTS, FLUSH, KILL and LOAD. */
import { word } from '../arguments.ts'
import type { Execute } from '../model.ts'
import { OK, RespError } from '../reply.ts'
import { CommandError } from '../step.ts'
import { shebangOf } from './shebang.ts'

const NOT_BUSY = 'NOTBUSY No scripts in execution right now.'

export const SCRIPT_ANSWERS = { exists, flush, kill, load } satisfies Record<string, Execute>

async function exists(...[caller, args]: Parameters<Execute>): ReturnType<Execute> {
  const { scripts } = caller
  const shas = args.slice(2).map((sha) => sha.toString('latin1').toLowerCase())
  const sources = await Promise.all(shas.map((sha) => scripts.sourceOf(caller, sha, caller.readLevel)))
  return sources.map((source) => (source ? 1 : 0))
}

async function flush(...[caller, args]: Parameters<Execute>): ReturnType<Execute> {
  const isMode = args.length === 2 || (args.length === 3 && ['SYNC', 'ASYNC'].includes(word(args[2]!)))
  if (!isMode) throw new CommandError('ERR SCRIPT FLUSH only support SYNC|ASYNC option')
  await caller.scripts.flush(caller)
  return OK
}

async function kill({ scripts }: Parameters<Execute>[0]): ReturnType<Execute> {
  return killed(await scripts.kill('script'), scripts.busy)
}

/** @param busy with something of the other kind */
export function killed(isKilled: boolean, busy: RespError | null): typeof OK | RespError {
  return isKilled ? OK : (busy ?? new RespError(NOT_BUSY))
}

async function load(...[caller, args]: Parameters<Execute>): ReturnType<Execute> {
  const source = args[2]!
  shebangOf(source)
  return caller.scripts.load(caller, source)
}
