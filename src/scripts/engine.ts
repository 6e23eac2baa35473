/** The Lua engine (lua/engine.ts) as jobs use it: replies of commands as Lua's values, and the other way round. */
import {
  Big,
  Bool,
  Constant,
  Double,
  itemsOf,
  Lazy,
  NULL_ARRAY,
  Packed,
  RespError,
  RespMap,
  RespSet,
  Simple,
  Verbatim,
  type Reply,
} from '../commands/reply.ts'
import type { Engine, EngineRun, LogLevel } from './job.ts'
import { aboutLibrary } from './library-head.ts'
import { LuaEngine } from './lua/engine.ts'
import {
  LuaBigNumber,
  LuaDouble,
  LuaError,
  LuaMap,
  LuaSet,
  LuaStatus,
  LuaVerbatim,
  type LuaReply,
} from './lua/values.ts'

/** For all that scripts hold at one time. */
const MAX_MEMORY_BYTES = 128 * 1024 * 1024
const LEVELS: readonly LogLevel[] = ['debug', 'verbose', 'notice', 'warning']

export async function loadEngine(): Promise<Engine> {
  return new LuaScripts(await LuaEngine.load({ maxMemoryBytes: MAX_MEMORY_BYTES }))
}

export interface MeteredEngine {
  /** Ends each run after so many steps, with OutOfFuel. */
  readonly engine: Engine
  /** Steps of the last run. */
  readonly used: () => number
}

/** @param module from meteredModule() @param fuel what a run may use, and what it may use to compile its source first */
export function meteredEngine(
  module: WebAssembly.Module,
  fuel: { readonly toRun: number; readonly toCompile: number },
): MeteredEngine {
  const lua = LuaEngine.of(module, {
    maxMemoryBytes: MAX_MEMORY_BYTES,
    fuel: fuel.toRun,
    fuelToCompile: fuel.toCompile,
  })
  return { engine: new LuaScripts(lua), used: () => lua.fuelUsed }
}

class LuaScripts implements Engine {
  private readonly lua: LuaEngine

  constructor(lua: LuaEngine) {
    this.lua = lua
  }

  run({ source, sha, functionName, keys, args, random, call, mayRun, onTick, log }: EngineRun): Reply {
    const job = {
      source,
      sha,
      keys,
      args,
      random,
      mayRun,
      onTick,
      call: (command: Buffer[], resp: 2 | 3) => toLua(call(command), resp),
      log: (level: number, message: Buffer) => log(LEVELS[level] ?? 'notice', message.toString('utf8')),
    }
    const reply =
      functionName === null
        ? this.lua.run(job)
        : this.lua.callFunction({ ...job, library: { source, id: sha }, name: functionName })
    return fromLua(reply)
  }

  check(source: Buffer): string | null {
    return this.lua.check(source)
  }

  libraryOf(source: Buffer, sha: string): ReturnType<Engine['libraryOf']> {
    const head = aboutLibrary(source)
    if (typeof head === 'string') return head
    const functions = this.lua.loadLibrary({ source, id: sha })
    if (functions instanceof LuaError) return functions.text.toString('utf8')
    if (functions.length === 0) return 'ERR No functions registered'
    return {
      ...head,
      functions: functions.map(({ name, description, flags }) => {
        return { name, flags, description: description?.toString('utf8') ?? null }
      }),
    }
  }
}

function toLua(reply: Reply, resp: 2 | 3): LuaReply {
  if (reply === null || reply === NULL_ARRAY) return null
  if (Buffer.isBuffer(reply) || typeof reply === 'number' || typeof reply === 'bigint') return reply
  if (typeof reply === 'string') return Buffer.from(reply)
  if (reply instanceof Simple) return new LuaStatus(Buffer.from(reply.text))
  if (reply instanceof RespError) return new LuaError(Buffer.from(reply.text))
  if (reply instanceof Double) return new LuaDouble(reply.value, reply.text)
  if (reply instanceof Verbatim) return new LuaVerbatim(reply.format, Buffer.from(reply.text))
  if (reply instanceof Bool) return reply.value
  if (reply instanceof Big) return new LuaBigNumber(Buffer.from(reply.digits))
  if (reply instanceof Constant) return toLua(reply.reply, resp)
  const items = itemsOf(reply, resp)!.map((item) => toLua(item, resp))
  if (resp === 2 || reply instanceof Lazy) return items
  const form = reply instanceof Packed ? reply.form : null
  if (reply instanceof RespMap || form === 'map') return new LuaMap(pairsOf(items))
  return reply instanceof RespSet || form === 'set' ? new LuaSet(items) : items
}

function pairsOf(items: readonly LuaReply[]): [LuaReply, LuaReply][] {
  const pairs: [LuaReply, LuaReply][] = []
  for (let i = 0; i < items.length; i += 2) pairs.push([items[i]!, items[i + 1]!])
  return pairs
}

/** What is nested more deeply would overflow the stack of whoever reads it. */
const MAX_DEPTH = 128
const TOO_DEEP = new RespError('ERR reached lua stack limit')

function fromLua(reply: LuaReply, depth = 0): Reply {
  if (reply === null || Buffer.isBuffer(reply) || typeof reply === 'number' || typeof reply === 'bigint') {
    return reply
  }
  if (typeof reply === 'boolean') return new Bool(reply)
  if (reply instanceof LuaStatus) return new Simple(reply.text.toString('utf8'))
  if (reply instanceof LuaError) return new RespError(reply.text.toString('utf8'))
  if (reply instanceof LuaDouble) return new Double(reply.value, reply.text)
  if (reply instanceof LuaBigNumber) return new Big(reply.digits.toString('latin1'))
  if (reply instanceof LuaVerbatim) return new Verbatim(reply.text.toString('utf8'), reply.format)
  if (depth === MAX_DEPTH) return TOO_DEEP
  const within = (one: LuaReply) => fromLua(one, depth + 1)
  if (reply instanceof LuaSet) return new RespSet(reply.items.map(within))
  if (reply instanceof LuaMap) {
    return new RespMap(reply.entries.map(([field, value]) => [within(field), within(value)]))
  }
  return reply.map(within)
}
