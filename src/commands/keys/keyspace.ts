/** Generic key commands: DEL, EXISTS, TYPE, RENAME, COPY. */
import { word } from '../arguments.ts'
import { OK, Simple } from '../reply.ts'
import { typeName } from '../type-names.ts'
import { databaseArgument } from './database.ts'
import {
  CommandError,
  distinct,
  lookAtHead,
  refused,
  SYNTAX_ERROR,
  type Held,
  type Step,
  type StepLimits,
  type StepMaker,
  type Stepped,
} from '../step.ts'

const NONE = new Simple('none')
const NO_SUCH_KEY = refused('ERR no such key', 'KEY_NOT_FOUND')

/** DEL and UNLINK. Replies with the number of keys that existed. */
export const del: StepMaker = (args, _nowMs, limits, mentions = distinct(args.slice(1))): Step => {
  const { keys } = mentions
  return {
    needs: 'head',
    keys,
    reads: true,
    writes: true,
    leavesAbsent: !limits.loads,
    apply(held) {
      return { reply: held.reduce((sum, one) => sum + (one ? 1 : 0), 0), next: held.map(() => null) }
    },
  }
}

/** EXISTS and TOUCH: a key that is named twice counts twice. */
export const exists: StepMaker = (args, _nowMs, _limits, mentions = distinct(args.slice(1))): Step => {
  const { keys, places } = mentions
  return {
    needs: 'head',
    keys,
    reads: true,
    writes: false,
    lookedUp: places,
    apply: (held) => ({ reply: places.reduce((sum, place) => sum + (held[place] ? 1 : 0), 0) }),
  }
}

export function type(args: readonly Buffer[]): Step {
  return lookAtHead(args[1]!, (seen) => (seen ? new Simple(typeName(seen.kind)) : NONE))
}

export function rename(args: readonly Buffer[]): Step {
  return move(args, () => true, { moved: OK, same: OK })
}

export function renamenx(args: readonly Buffer[]): Step {
  return move(args, (target) => target === null, { moved: 1, same: 0 })
}

function move(
  args: readonly Buffer[],
  mayReplace: (target: Held | null) => boolean,
  replies: { moved: Stepped['reply']; same: Stepped['reply'] },
): Step {
  const [, from, to] = args as [Buffer, Buffer, Buffer]
  if (from.equals(to)) {
    return {
      needs: 'head',
      keys: [from],
      reads: true,
      writes: false,
      lookedUp: [],
      apply: ([held]) => (held ? { reply: replies.same } : NO_SUCH_KEY),
    }
  }
  return {
    needs: 'value',
    keys: [from, to],
    reads: true,
    writes: true,
    apply([held = null, target = null]) {
      if (!held) return NO_SUCH_KEY
      return mayReplace(target) ? { reply: replies.moved, next: [null, held] } : { reply: 0 }
    },
  }
}

export function copy(args: readonly Buffer[], _nowMs: number, limits: StepLimits): Step {
  const [, from, to] = args as [Buffer, Buffer, Buffer]
  let replaces = false
  let target = limits.database
  for (let at = 3; at < args.length; at++) {
    const option = word(args[at]!)
    if (option === 'REPLACE') replaces = true
    else if (option === 'DB' && at + 1 < args.length) target = databaseArgument(args[++at]!, limits)
    else throw new CommandError(SYNTAX_ERROR)
  }
  if (from.equals(to) && target === limits.database) {
    throw new CommandError('ERR source and destination objects are the same')
  }
  return {
    needs: 'value',
    keys: [from, to],
    databases: [limits.database, target],
    reads: true,
    writes: true,
    lookedUp: [0],
    apply([held = null, there = null]) {
      if (!held || (there && !replaces)) return { reply: 0 }
      return { reply: 1, next: [undefined, held] }
    },
  }
}
