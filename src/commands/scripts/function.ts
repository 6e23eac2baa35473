/** FUNCTION: libraries of functions, which are stored in the cluster. */
import { inOneGo } from '../../core/work.ts'
import { printable } from '../../core/printable.ts'
import { Glob } from '../../core/glob.ts'
import { cString, word } from '../arguments.ts'
import { checksumOf } from '../dump/dump.ts'
import { CRC64_BYTES } from '../dump/crc64.ts'
import { BadData, Input, TooMuchData } from '../dump/input.ts'
import { lengthBytes } from '../dump/lengths.ts'
import type { Caller, Execute } from '../model.ts'
import { checkPattern } from '../pattern.ts'
import { OK, RespMap, RespSet, Simple, type Reply } from '../reply.ts'
import { CommandError } from '../step.ts'
import type { Library } from './api.ts'
import { killed } from './script.ts'

type Answered = ReturnType<Execute>

export const FUNCTION_ANSWERS = {
  delete: deleteLibrary,
  dump,
  flush,
  kill,
  list,
  load,
  restore,
  stats,
} satisfies Record<string, Execute>

// ---- changes

async function load(caller: Caller, args: readonly Buffer[]): Answered {
  const options = args.slice(2, -1)
  for (const option of options) {
    if (word(option) !== 'REPLACE')
      throw new CommandError(`ERR Unknown option given: ${cString(option).toString()}`)
  }
  const library = await caller.scripts.libraryOf(args.at(-1)!)
  const replaces = options.length > 0
  await caller.scripts.changeLibraries(caller, (all) => withLibrary(all, library, replaces))
  return Buffer.from(library.name)
}

/** @throws CommandError */
function withLibrary(all: readonly Library[], library: Library, replaces: boolean): readonly Library[] {
  if (!replaces && all.some(({ name }) => name === library.name)) {
    throw new CommandError(`ERR Library '${library.name}' already exists`)
  }
  const others = all.filter(({ name }) => name !== library.name)
  const taken = new Set(others.flatMap(({ functions }) => functions.map(({ name }) => name)))
  const twice = library.functions.find(({ name }) => taken.has(name))
  if (twice) throw new CommandError(`ERR Function ${twice.name} already exists`)
  return [...others, library]
}

async function deleteLibrary(caller: Caller, args: readonly Buffer[]): Answered {
  const name = args[2]!.toString('latin1')
  await caller.scripts.changeLibraries(caller, (all) => {
    if (!all.some((one) => one.name === name)) throw new CommandError('ERR Library not found')
    return all.filter((one) => one.name !== name)
  })
  return OK
}

async function flush(caller: Caller, args: readonly Buffer[]): Answered {
  const isMode = args.length === 2 || (args.length === 3 && ['SYNC', 'ASYNC'].includes(word(args[2]!)))
  if (!isMode) throw new CommandError('ERR FUNCTION FLUSH only supports SYNC|ASYNC option')
  await caller.scripts.changeLibraries(caller, () => [])
  return OK
}

function kill({ scripts }: Caller): Answered {
  return Promise.resolve(killed(scripts.kill('function'), scripts.busy))
}

// ---- looks

async function list(caller: Caller, args: readonly Buffer[]): Answered {
  let pattern: Buffer | null = null
  let withCode = false
  for (let at = 2; at < args.length; at++) {
    const option = word(args[at]!)
    if (option === 'WITHCODE' && !withCode) withCode = true
    else if (option === 'LIBRARYNAME' && pattern === null) {
      pattern = args[++at] ?? null
      if (pattern === null) throw new CommandError('ERR library name argument was not given')
      checkPattern(caller.settings, pattern)
    } else throw new CommandError(`ERR Unknown argument ${cString(args[at]!).toString()}`)
  }
  const glob = pattern && new Glob(pattern)
  const all = await caller.scripts.newestLibraries(caller)
  return all.filter(({ name }) => glob?.matches(Buffer.from(name)) ?? true).map((one) => about(one, withCode))
}

function about({ name, engine, functions, source }: Library, withCode: boolean): Reply {
  const described = functions.map(
    (one) =>
      new RespMap([
        ['name', one.name],
        ['description', one.description],
        ['flags', new RespSet(one.flags.map((flag) => new Simple(flag)))],
      ]),
  )
  return new RespMap([
    ['library_name', name],
    ['engine', engine],
    ['functions', described],
    ...(withCode ? [['library_code', source] as const] : []),
  ])
}

async function stats(caller: Caller): Answered {
  const all = await caller.scripts.newestLibraries(caller)
  const { running } = caller.scripts
  const name = running?.code.functionName ?? null
  const now =
    running === null || name === null
      ? null
      : new RespMap([
          ['name', name],
          ['command', [...running.command]],
          ['duration_ms', running.ms],
        ])
  const counts = new RespMap([
    ['libraries_count', all.length],
    ['functions_count', all.reduce((sum, { functions }) => sum + functions.length, 0)],
  ])
  return new RespMap([
    ['running_script', now],
    ['engines', new RespMap([['LUA', counts]])],
  ])
}

// ---- as bytes

/** As in RDB files: it precedes the source of a library. */
const LIBRARY = 245
/** Of Redis 7.0. */
const VERSION = 10
const LATEST_VERSION = 12
const VERSION_BYTES = 2
const WRONG_PAYLOAD = 'ERR DUMP payload version or checksum are wrong'

async function dump(caller: Caller): Answered {
  const version = Buffer.alloc(VERSION_BYTES)
  version.writeUInt16LE(VERSION)
  const parts = (await caller.scripts.newestLibraries(caller)).flatMap(({ source }) => {
    return [Buffer.from([LIBRARY]), lengthBytes(source.length), source]
  })
  const bytes = Buffer.concat([...parts, version])
  return Buffer.concat([bytes, await caller.work.outcomeOf(checksumOf(bytes))])
}

async function restore(caller: Caller, args: readonly Buffer[]): Answered {
  if (args.length > 4) {
    const called = printable(args[1]!.toString())
    throw new CommandError(
      `ERR unknown subcommand or wrong number of arguments for '${called}'. Try FUNCTION HELP.`,
    )
  }
  const policy = args.length === 3 ? 'APPEND' : word(args[3]!)
  if (!['FLUSH', 'APPEND', 'REPLACE'].includes(policy)) {
    throw new CommandError('ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.')
  }
  const libraries: Library[] = []
  for (const source of await caller.work.outcomeOf(sourcesIn(args[2]!, caller.settings.maxValueBytes))) {
    libraries.push(await caller.scripts.libraryOf(source))
  }
  await caller.scripts.changeLibraries(caller, (all) =>
    libraries.reduce<readonly Library[]>(
      (before, library) => withLibrary(before, library, policy === 'REPLACE'),
      policy === 'FLUSH' ? [] : all,
    ),
  )
  return OK
}

/** @throws CommandError */
function* sourcesIn(payload: Buffer, mostBytes: number): Generator<number, Buffer[]> {
  const versionAt = payload.length - VERSION_BYTES - CRC64_BYTES
  if (versionAt < 0) throw new CommandError(WRONG_PAYLOAD)
  const checkedTo = versionAt + VERSION_BYTES
  const checksum = inOneGo(checksumOf(payload.subarray(0, checkedTo)))
  const isWhole = checksum.equals(payload.subarray(checkedTo))
  if (payload.readUInt16LE(versionAt) > LATEST_VERSION || !isWhole) throw new CommandError(WRONG_PAYLOAD)
  const input = new Input(payload.subarray(0, versionAt), { left: mostBytes })
  const sources: Buffer[] = []
  try {
    while (!input.isAtEnd) {
      if (input.byte() !== LIBRARY) throw new CommandError('ERR given type is not a function')
      sources.push(input.text())
      yield 1
    }
  } catch (error) {
    if (error instanceof BadData) throw new CommandError('ERR failed loading functions')
    if (error instanceof TooMuchData) throw new CommandError(`ERR ${error.message}`)
    throw error
  }
  return sources
}
