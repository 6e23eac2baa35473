/** Runs of the engine, for tests. */
import { createHash } from 'node:crypto'
import type { FunctionJob, LuaEngine, LuaJob, ScriptJob } from '../../../src/scripts/lua/engine.ts'
import { encoded, SmallRedis } from './small-redis.ts'

export function jobOf(source: string, more: Partial<ScriptJob> = {}): ScriptJob {
  const bytes = Buffer.from(source, 'latin1')
  return { source: bytes, sha: createHash('sha1').update(bytes).digest('hex'), ...common(), ...more }
}

export function functionJobOf(source: string, name: string, more: Partial<FunctionJob> = {}): FunctionJob {
  const bytes = Buffer.from(source, 'latin1')
  const library = { source: bytes, id: createHash('sha1').update(bytes).digest('hex') }
  return { library, name, ...common(), ...more }
}

function common(): LuaJob {
  const redis = new SmallRedis()
  return { keys: [], args: [], call: (command) => redis.call(command), random: () => 0.5 }
}

/** The reply as Redis sends it to a client of RESP2, without line ends. */
export function answer(engine: LuaEngine, source: string, more: Partial<ScriptJob> = {}): string {
  return encoded(engine.run(jobOf(source, more)), 2)
    .replaceAll('\r\n', ' ')
    .trim()
}
