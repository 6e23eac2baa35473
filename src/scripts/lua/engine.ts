/**
 * Lua 5.1 as scripts and functions of Redis 7.0 see it, in WebAssembly (native/build.sh). It knows no command: whoever
 * runs a script passes `call`.
 *
 * - A run is synchronous, and ends when the script ends or `onTick` throws. Patterns and other long C functions do not
 *   tick: run it in a thread that can be ended.
 * - Nothing of a run reaches the next: globals are read-only as in Redis, and what a script can set beside them
 *   (cjson's settings, the garbage collector, randomness) is set back.
 * - Memory is bounded. A script that wants more gets Lua's error "not enough memory"; where that cannot be raised (a
 *   buffer of cjson, no stack left) the run ends with an error, and the next one starts a new instance.
 * - Compiled scripts are kept by their sha, the least recently used are dropped.
 */
import { readFile } from 'node:fs/promises'
import { FUNCTIONS, LuaInstance, SCRIPTS, type Host } from './instance.ts'
import { metered } from './metered.ts'
import { Reader, Writer } from './wire.ts'
import { LuaError, type LuaReply } from './values.ts'

export interface LuaOptions {
  /** For all that scripts hold at one time, compiled sources included. */
  readonly maxMemoryBytes: number
  /** `redis.REDIS_VERSION`, as `major.minor.patch`. */
  readonly redisVersion?: string
  /** Compiled scripts and libraries that are kept. */
  readonly maxCachedScripts?: number
  /** What a run may use (metered.ts); without a limit if absent. */
  readonly fuel?: number
  /** What it may use besides to compile its source, once for each instance. */
  readonly fuelToCompile?: number
}

/** A run has used up its fuel: it was ended where it was, and has no result. */
export class OutOfFuel extends Error {}

/** What runs of scripts and of functions share. */
export interface LuaJob {
  readonly keys: readonly Buffer[]
  readonly args: readonly Buffer[]
  /** `redis.call`: the command's reply; errors of the command are a LuaError. Whatever it throws ends the run. */
  readonly call: (command: Buffer[], resp: 2 | 3) => LuaReply
  /** `redis.acl_check_cmd`; null = there is no such command. Everything may run when absent. */
  readonly mayRun?: (command: Buffer[]) => boolean | null
  /** `redis.log`, levels 0 (debug) to 3 (warning). */
  readonly log?: (level: number, message: Buffer) => void
  /** From 0 to 1: seeds `math.random`. */
  readonly random: () => number
  /** Called every `instructionsATick` instructions; may throw to end the run. */
  readonly onTick?: () => void
  readonly instructionsATick?: number
}

export interface ScriptJob extends LuaJob {
  readonly source: Buffer
  /** The source's SHA-1 in lower case: names it in errors and in the cache. */
  readonly sha: string
}

export interface FunctionJob extends LuaJob {
  readonly library: Library
  readonly name: string
}

export interface Library {
  readonly source: Buffer
  /** Names the source in the cache: no two sources may share it. */
  readonly id: string
}

export interface RegisteredFunction {
  readonly name: string
  readonly description: Buffer | null
  /** no-writes, allow-oom, allow-stale, no-cluster, allow-cross-slot-keys */
  readonly flags: readonly string[]
}

const INSTRUCTIONS_A_TICK = 10_000
const MAX_CACHED_SCRIPTS = 500
/** In the order of their bits in glue.c. */
const FLAGS = ['no-writes', 'allow-oom', 'allow-stale', 'no-cluster', 'allow-cross-slot-keys']
const LINE_FEED = 10
const KEPT_BYTES = 65_536

/** Every error of WebAssembly itself: out of bounds, unreachable, no stack left. */
function isBroken(error: unknown): boolean {
  return error instanceof WebAssembly.RuntimeError || error instanceof RangeError
}

export class LuaEngine {
  private readonly module: WebAssembly.Module
  private readonly options: LuaOptions
  private readonly version: number
  private instance: LuaInstance | null = null
  /** Places of compiled sources, the least recently used first. */
  private readonly cached = new Map<string, number>()
  private readonly writer = new Writer()
  private isRunning = false
  /** Fuel that the last run has used to compile. */
  private compiling = 0

  private constructor(module: WebAssembly.Module, options: LuaOptions) {
    this.module = module
    this.options = options
    const [major = 7, minor = 0, patch = 0] = (options.redisVersion ?? '7.0.15').split('.').map(Number)
    this.version = (major << 16) | (minor << 8) | patch
  }

  static async load(options: LuaOptions): Promise<LuaEngine> {
    return new LuaEngine(await WebAssembly.compile(await moduleBytes()), options)
  }

  /** @param module from meteredModule() */
  static of(module: WebAssembly.Module, options: LuaOptions): LuaEngine {
    return new LuaEngine(module, options)
  }

  /** Bytes of WebAssembly memory held now. */
  get memoryBytes(): number {
    return this.instance?.memoryBytes ?? 0
  }

  /** By the last run, compiling included; all that it had if it was ended. */
  get fuelUsed(): number {
    return this.compiling + (this.options.fuel ?? 0) - (this.instance?.fuel?.value ?? 0)
  }

  run(job: ScriptJob): LuaReply {
    return this.guarded(job, job.sha, (instance) => {
      const compiled = this.compiled(instance, SCRIPTS, job.sha, job.source)
      if (typeof compiled !== 'number')
        return prefixed('ERR Error compiling script (new function): ', compiled)
      const length = this.pack(instance, job.sha, job)
      if (length < 0) return outOfMemory(job.sha)
      const status = instance.calls.run_script(compiled, job.keys.length, job.args.length, ticks(job))
      return status === 0 ? new Reader(instance.output()).reply() : outOfMemory(job.sha)
    })
  }

  /** Compiles only: null, or the error's text as Redis sends it. */
  check(source: Buffer): string | null {
    const error = this.guarded(null, 'check', (instance) => {
      const compiled = compile(instance, SCRIPTS, source)
      if (typeof compiled !== 'number')
        return prefixed('ERR Error compiling script (new function): ', compiled)
      instance.calls.forget(SCRIPTS, compiled)
      return null
    })
    return error instanceof LuaError ? error.text.toString('latin1') : null
  }

  /** Runs a library's source for the functions that it registers; or the error as FUNCTION LOAD sends it. */
  loadLibrary(
    library: Library,
    job: Pick<LuaJob, 'log' | 'onTick' | 'instructionsATick'> = {},
  ): RegisteredFunction[] | LuaError {
    let functions: RegisteredFunction[] = []
    const error = this.guarded(job, library.id, (instance) => {
      const compiled = this.compiled(instance, FUNCTIONS, library.id, library.source)
      if (typeof compiled !== 'number') return prefixed('ERR Error compiling function: ', compiled)
      const status = instance.calls.load_library(compiled, ticks(job))
      if (status < 0) return outOfMemory(library.id)
      if (status > 0) return prefixed('ERR Error registering functions: ', errorIn(instance))
      functions = readFunctions(instance)
      return null
    })
    return error instanceof LuaError ? error : functions
  }

  callFunction(job: FunctionJob): LuaReply {
    return this.guarded(job, job.name, (instance) => {
      const compiled = this.compiled(instance, FUNCTIONS, job.library.id, job.library.source)
      if (typeof compiled !== 'number') return prefixed('ERR Error compiling function: ', compiled)
      const length = this.pack(instance, job.name, job)
      if (length < 0) return outOfMemory(job.name)
      const status = instance.calls.run_function(compiled, job.keys.length, job.args.length, ticks(job))
      if (status > 0) return prefixed('ERR Error registering functions: ', errorIn(instance))
      return status === 0 ? new Reader(instance.output()).reply() : outOfMemory(job.name)
    })
  }

  /** Runs `work` on a sound instance, and throws the instance away if it is not sound afterwards. */
  private guarded(
    job: Partial<LuaJob> | null,
    name: string,
    work: (instance: LuaInstance) => LuaReply,
  ): LuaReply {
    if (this.isRunning) throw new Error('lua: a script is running already')
    // Without memory for a new one it throws, and the next run tries again.
    const instance = (this.instance ??= new LuaInstance(
      this.module,
      this.options.maxMemoryBytes,
      this.version,
    ))
    this.isRunning = true
    instance.host = hostOf(job)
    const { fuel } = this.options
    if (fuel !== undefined) instance.refuel(fuel)
    this.compiling = 0
    try {
      if (job?.random) instance.calls.seed(Math.floor(job.random() * 0x1_0000_0000) | 0)
      const reply = work(instance)
      this.keepOrDrop(instance)
      return reply
    } catch (error) {
      this.drop()
      if (instance.fuel && instance.fuel.value < 0) throw new OutOfFuel()
      if (!isBroken(error)) throw error
      return outOfMemory(name)
    } finally {
      instance.host = null
      this.isRunning = false
    }
  }

  /** WebAssembly memory never shrinks: what a large script has taken is given back with its instance. */
  private keepOrDrop(instance: LuaInstance): void {
    const kept = this.options.maxMemoryBytes / 4
    if (instance.calls.used_bytes() > kept) instance.calls.collect()
    if (instance.memoryBytes > kept + 8_000_000 || instance.calls.used_bytes() > kept) this.drop()
  }

  private drop(): void {
    this.instance = null
    this.cached.clear()
  }

  /** The place of the compiled source, or the compiler's message. */
  private compiled(instance: LuaInstance, kind: number, id: string, source: Buffer): number | LuaError {
    const key = `${kind}:${id}`
    const known = this.cached.get(key)
    if (known !== undefined) {
      this.cached.delete(key)
      this.cached.set(key, known)
      return known
    }
    const place = this.compiledWithin(instance, kind, source)
    if (typeof place !== 'number') return place
    this.cached.set(key, place)
    if (this.cached.size > (this.options.maxCachedScripts ?? MAX_CACHED_SCRIPTS)) {
      const [oldest, oldPlace] = this.cached.entries().next().value!
      this.cached.delete(oldest)
      instance.calls.forget(Number(oldest[0]), oldPlace)
    }
    return place
  }

  /** With fuel of its own, so that a run has as much for the first time as later. */
  private compiledWithin(instance: LuaInstance, kind: number, source: Buffer): number | LuaError {
    const { fuel, fuelToCompile } = this.options
    if (fuel === undefined || fuelToCompile === undefined) return compile(instance, kind, source)
    this.compiling = fuelToCompile
    instance.refuel(fuelToCompile)
    const place = compile(instance, kind, source)
    this.compiling -= instance.fuel?.value ?? 0
    instance.refuel(fuel)
    return place
  }

  /** Name, keys and arguments; -1 = no memory. */
  private pack(instance: LuaInstance, name: string, { keys, args }: LuaJob): number {
    this.writer.text(Buffer.from(name))
    this.writer.texts(keys)
    this.writer.texts(args)
    const length = instance.put([this.writer.written])
    this.writer.clear(KEPT_BYTES)
    return length
  }
}

function moduleBytes(): Promise<Uint8Array> {
  return readFile(new URL('lua.wasm', import.meta.url))
}

/** The module with a meter. It can be handed to another thread; to make it takes some milliseconds. */
export async function meteredModule(): Promise<WebAssembly.Module> {
  return WebAssembly.compile(metered(await moduleBytes()))
}

function ticks(job: Pick<LuaJob, 'onTick' | 'instructionsATick'>): number {
  return job.onTick ? (job.instructionsATick ?? INSTRUCTIONS_A_TICK) : 0
}

function hostOf(job: Partial<LuaJob> | null): Host {
  return {
    call: (command, resp) => job!.call!(command, resp),
    mayRun: (command) => job?.mayRun?.(command) ?? (job?.mayRun ? null : true),
    log: (level, message) => job?.log?.(level, message),
    tick: () => job?.onTick?.(),
  }
}

function compile(instance: LuaInstance, kind: number, source: Buffer): number | LuaError {
  const length = instance.put([withoutShebang(source)])
  const place = length < 0 ? -1 : instance.calls.compile(kind, length)
  if (place > 0) return place
  return place < 0 ? new LuaError(Buffer.from('not enough memory')) : errorIn(instance)
}

/** The line feed stays, so that lines keep their numbers. */
function withoutShebang(source: Buffer): Buffer {
  if (source[0] !== 0x23 || source[1] !== 0x21) return source
  const end = source.indexOf(LINE_FEED)
  return end === -1 ? source : source.subarray(end)
}

function errorIn(instance: LuaInstance): LuaError {
  return new Reader(instance.output()).reply() as LuaError
}

function prefixed(prefix: string, error: LuaError): LuaError {
  return new LuaError(Buffer.concat([Buffer.from(prefix), error.text]))
}

function outOfMemory(name: string): LuaError {
  return new LuaError(Buffer.from(`ERR Error running script ${name}, not enough memory`))
}

function readFunctions(instance: LuaInstance): RegisteredFunction[] {
  const reader = new Reader(instance.output())
  const functions: RegisteredFunction[] = []
  while (!reader.isAtEnd) {
    const name = reader.text().toString('latin1')
    const bits = reader.u32()
    functions.push({
      name,
      flags: FLAGS.filter((_, bit) => (bits & (1 << bit)) !== 0),
      description: reader.optionalText(),
    })
  }
  return functions
}
