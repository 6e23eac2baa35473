/** The table of all commands of the Redis protocol, and the lookup by name. */
import { HANDS_OVER } from '../../commands/hand-over.ts'
import { nowMs } from '../../commands/run/held.ts'
import { defaultEnd } from '../../commands/step.ts'
import { KEY_COMMANDS } from '../../commands/table.ts'
import type { CommandSpec } from '../../commands/step.ts'
import type { Client, Command, Subcommands } from './model.ts'
import { get, set } from './session/fast.ts'
import { runBlocking } from './session/blocking.ts'
import { runKeyed } from './session/run-keyed.ts'
import type { SessionCommand } from './session/session-command.ts'
import { SESSION_COMMANDS } from './session/session.ts'
import { TRANSACTION_COMMANDS } from './session/transaction.ts'

type Run = Command['run']

/** Commands that always read and change exactly one key, whatever their arguments are. */
const UPDATES = new Set(
  (
    'append decr decrby delex delifeq expire expireat getdel getset incr incrby incrbyfloat ' +
    'hdel hincrby hincrbyfloat hmset hset hsetnx linsert lpop lpush lpushx lrem lset ltrim persist pexpire pexpireat ' +
    'rpop rpush rpushx sadd setbit setnx setrange spop srem'
  ).split(' '),
)
const MAX_FAST_TTL_DIGITS = 9
/** Commands that reply at once; some take up to 0.1 ms, or a kilobyte of arguments. */
const UNITS_WITHOUT_KEYS = 16

const keyed: SessionCommand[] = KEY_COMMANDS.map((command) => {
  const { name } = command
  const { plan } = command
  const run: Run = plan
    ? (client, args, its) => runBlocking(client, its, args, { ...command, plan })
    : (client, args, its) => runKeyed(client, its, args, command)
  return {
    name,
    nameBytes: Buffer.from(name),
    arity: command.arity,
    flags: command.flags,
    firstKey: command.firstKey,
    lastKey: command.lastKey,
    keyStep: command.keyStep,
    keyCountAt: command.keyCountAt,
    targetAt: command.targetAt,
    storeOption: command.storeOption,
    halfBehind: command.halfBehind,
    ...(command.subcommands && { subcommands: withoutAnswers(command.subcommands) }),
    manyOperands: command.manyOperands,
    updates: UPDATES.has(name),
    control: false,
    open: false,
    run: name === 'get' ? get : name === 'set' ? runSet(run) : run,
    step: command.step,
    stepInSlices: command.stepInSlices,
    alone: (client: Client, args: readonly Buffer[]) => command.execute(client, args, true),
    execute: command.alwaysWaits ? undefined : command.execute,
  }
})

/** They are part of the command's step. */
function withoutAnswers(subcommands: NonNullable<CommandSpec['subcommands']>): Subcommands<null> {
  return Object.fromEntries(
    Object.entries(subcommands).map(([name, about]) => [name, { ...about, answer: null }]),
  )
}

/** Placeholder for an unknown command or an invalid request. */
export const EMPTY_COMMAND: Command = {
  name: 'unknown',
  nameBytes: Buffer.alloc(0),
  arity: -1,
  takesOptions: false,
  units: UNITS_WITHOUT_KEYS,
  flags: [],
  firstKey: 0,
  lastKey: 0,
  keyStep: 0,
  index: 0,
  control: false,
  handsOver: false,
  open: false,
  run: () => undefined,
}

export const COMMANDS: readonly Command[] = [
  EMPTY_COMMAND,
  ...[...keyed, ...SESSION_COMMANDS, ...TRANSACTION_COMMANDS].map((command, i) => ({
    ...command,
    index: i + 1,
    handsOver: HANDS_OVER.has(command.name),
    takesOptions: takesOptions(command),
    units: command.firstKey === 0 ? UNITS_WITHOUT_KEYS : 1,
  })),
]

function takesOptions({ arity, lastKey, manyOperands = false }: SessionCommand): boolean {
  return arity < 0 && lastKey >= 0 && !manyOperands
}

const byName = new Map(COMMANDS.slice(1).map((command) => [command.name, command]))

/** Fast path for SET without options, or with a plain EX or PX: it does not depend on the stored value. */
function runSet(otherwise: Run): Run {
  return (client, args, command) => {
    const { settings, store } = client
    if (args.length === 3) {
      const expiresAtMs = settings.defaultTtlMs > 0 ? defaultEnd(settings, nowMs(store)) : 0
      set(client, command, args[1]!, args[2]!, expiresAtMs)
      return
    }
    const ttlMs = args.length === 5 ? plainTtlMs(args[3]!, args[4]!) : 0
    if (ttlMs === 0) otherwise(client, args, command)
    else set(client, command, args[1]!, args[2]!, nowMs(store) + ttlMs)
  }
}

/** 0 for anything other than a plain EX or PX. */
function plainTtlMs(option: Buffer, amount: Buffer): number {
  if (option.length !== 2 || (option[1]! | 0x20) !== 0x78 || amount.length > MAX_FAST_TTL_DIGITS) return 0
  const unit = option[0]! | 0x20
  const factor = unit === 0x65 ? 1000 : unit === 0x70 ? 1 : 0
  if (amount[0] === 0x30) return 0 // 0 is not a TTL, and 01 not a number
  let value = 0
  for (const byte of amount) {
    if (byte < 0x30 || byte > 0x39) return 0
    value = value * 10 + byte - 0x30
  }
  return value * factor
}

/** Short names by their letters, five bits each; longer ones are looked up by text. */
const byLetters = new Map<number, Command[]>()
const MAX_LETTERS = 6
for (const command of byName.values()) {
  if (command.name.length > MAX_LETTERS) continue
  const sum = lettersOf(command.nameBytes, 0, command.nameBytes.length)
  byLetters.set(sum, [...(byLetters.get(sum) ?? []), command])
}

export function lookUp(bytes: Buffer, from: number, to: number): Command | null {
  if (to - from > MAX_LETTERS) {
    return to - from > 32 ? null : (byName.get(bytes.toString('latin1', from, to).toLowerCase()) ?? null)
  }
  const found = byLetters.get(lettersOf(bytes, from, to))
  if (!found) return null
  for (const command of found) if (isNamed(command, bytes, from, to)) return command
  return null
}

function lettersOf(bytes: Buffer, from: number, to: number): number {
  let sum = 0
  for (let i = from; i < to; i++) sum = (sum << 5) | (bytes[i]! & 31)
  return sum
}

function isNamed({ nameBytes }: Command, bytes: Buffer, from: number, to: number): boolean {
  if (to - from !== nameBytes.length) return false
  for (let i = 0; i < nameBytes.length; i++) {
    const byte = bytes[from + i]!
    if ((byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte) !== nameBytes[i]) return false
  }
  return true
}
