/** The commands on streams, as specs.ts has those on strings. */
import { LEAN_WRITE, oneKey, READ, SLOW_LEAN_WRITE, SLOW_READ, SLOW_WRITE, WRITE } from '../spec-forms.ts'
import type { CommandSpec, HalfBehind, Step, StepMaker, SubcommandDescription } from '../step.ts'
import { helpOf, subcommandOf } from '../subcommands.ts'
import { xadd, xdel, xsetid, xtrim } from './add.ts'
import { xautoclaim, xclaim } from './claim.ts'
import {
  xgroupCreate,
  xgroupCreateconsumer,
  xgroupDelconsumer,
  xgroupDestroy,
  xgroupSetid,
} from './groups-command.ts'
import { xinfoConsumers, xinfoGroups, xinfoStream } from './info.ts'
import { xack, xpending } from './acknowledge.ts'
import { XREAD_STREAMS, XREADGROUP_STREAMS } from './read-arguments.ts'
import { xlen, xrange, xrevrange } from './ranges.ts'
import { planXread, planXreadgroup } from './blocking.ts'
import { xread, xreadgroup } from './read.ts'

interface Subcommand extends SubcommandDescription {
  readonly make: StepMaker
}

const INSERT = { index: 2, flags: ['RW', 'insert'] }
const UPDATE = { index: 2, flags: ['RW', 'update'] }
const REMOVE = { index: 2, flags: ['RW', 'delete'] }
const LOOK = { index: 2, flags: ['RO', 'access'] }

const XGROUP: Readonly<Record<string, Subcommand>> = {
  create: {
    arity: -5,
    since: '5.0.0',
    syntax: 'key groupname id(id|$ new_id:pure-token) [MKSTREAM] [ENTRIESREAD entries_read:integer]',
    flags: SLOW_WRITE,
    keyAt: INSERT,
    summary: 'Creates a consumer group.',
    make: xgroupCreate,
  },
  createconsumer: {
    arity: 5,
    since: '6.2.0',
    syntax: 'key groupname consumername',
    flags: SLOW_WRITE,
    keyAt: INSERT,
    summary: 'Creates a consumer of a group.',
    make: xgroupCreateconsumer,
  },
  delconsumer: {
    arity: 5,
    since: '5.0.0',
    syntax: 'key groupname consumername',
    flags: SLOW_LEAN_WRITE,
    keyAt: REMOVE,
    summary: 'Removes a consumer and its pending entries from a group.',
    make: xgroupDelconsumer,
  },
  destroy: {
    arity: 4,
    since: '5.0.0',
    syntax: 'key groupname',
    flags: SLOW_LEAN_WRITE,
    keyAt: REMOVE,
    summary: 'Removes a consumer group.',
    make: xgroupDestroy,
  },
  setid: {
    arity: -5,
    since: '5.0.0',
    syntax: 'key groupname id(id|$ new_id:pure-token) [ENTRIESREAD entries_read:integer]',
    flags: SLOW_LEAN_WRITE,
    keyAt: UPDATE,
    summary: 'Sets the last delivered id of a consumer group.',
    make: xgroupSetid,
  },
}

const XINFO: Readonly<Record<string, Subcommand>> = {
  consumers: {
    arity: 4,
    since: '5.0.0',
    syntax: 'key groupname',
    flags: SLOW_READ,
    keyAt: LOOK,
    summary: 'Returns the consumers of a group.',
    make: xinfoConsumers,
  },
  groups: {
    arity: 3,
    since: '5.0.0',
    syntax: 'key',
    flags: SLOW_READ,
    keyAt: LOOK,
    summary: 'Returns the consumer groups of a stream.',
    make: xinfoGroups,
  },
  stream: {
    arity: -3,
    since: '5.0.0',
    syntax: 'key [FULL full([COUNT count])]',
    flags: SLOW_READ,
    keyAt: LOOK,
    summary: 'Returns information about a stream.',
    make: xinfoStream,
  },
}

/** By lower-case name. */
export const STREAM_STEPS: Readonly<Record<string, CommandSpec>> = {
  xadd: { ...oneKey(-5, WRITE, xadd), manyOperands: true },
  xlen: oneKey(2, READ, xlen),
  xrange: oneKey(-4, SLOW_READ, xrange),
  xrevrange: oneKey(-4, SLOW_READ, xrevrange),
  xread: {
    ...halfBehind(-4, [...SLOW_READ, 'blocking', 'movablekeys'], XREAD_STREAMS, xread),
    plan: planXread,
  },
  xtrim: oneKey(-4, SLOW_LEAN_WRITE, xtrim),
  xdel: { ...oneKey(-3, LEAN_WRITE, xdel), manyOperands: true },
  xsetid: oneKey(-3, WRITE, xsetid),
  xgroup: container('xgroup', SLOW_WRITE, XGROUP),
  xreadgroup: {
    ...halfBehind(-7, [...SLOW_LEAN_WRITE, 'blocking', 'movablekeys'], XREADGROUP_STREAMS, xreadgroup),
    plan: planXreadgroup,
  },
  xack: { ...oneKey(-4, LEAN_WRITE, xack), manyOperands: true },
  xpending: oneKey(-3, SLOW_READ, xpending),
  xclaim: { ...oneKey(-6, LEAN_WRITE, xclaim), manyOperands: true },
  xautoclaim: oneKey(-6, LEAN_WRITE, xautoclaim),
  xinfo: container('xinfo', SLOW_READ, XINFO),
}

function halfBehind(
  arity: number,
  flags: readonly string[],
  behind: HalfBehind,
  make: StepMaker,
): CommandSpec {
  return { arity, flags, ...{ firstKey: behind.from, lastKey: -1, keyStep: 1 }, halfBehind: behind, make }
}

/** All of its subcommands have their key behind their name, but for HELP, which has none. */
function container(
  name: string,
  flags: readonly string[],
  own: Readonly<Record<string, Subcommand>>,
): CommandSpec {
  const noStep: Pick<Step, 'keys' | 'reads' | 'writes'> = { keys: [], reads: true, writes: false }
  const subcommands: Readonly<Record<string, Subcommand>> = {
    ...own,
    help: {
      arity: 2,
      since: '5.0.0',
      flags: ['loading', 'stale'],
      summary: 'Shows this help.',
      make: () => ({ ...noStep, needs: 'head', apply: () => ({ reply: help }) }),
    },
  }
  const help = helpOf(name, subcommands)
  const make: StepMaker = (args, ...more) => subcommandOf(name, subcommands, args).make(args, ...more)
  return { arity: -2, flags, ...{ firstKey: 2, lastKey: 2, keyStep: 1 }, subcommands, make }
}
