/**
 * Clients that wait for an element (BLPOP, BZPOPMIN, XREADGROUP BLOCK), with the coordinator's own waiters and commands. What
 * each attempt takes, and what is given back, are operations of their own in the history of the key: so no element is lost or
 * handed out twice where those are linearizable. Here is checked who gets it: the client that waits, nobody who has gone, and
 * whoever came first.
 */
import { beginWaiting, planOf, type BlockingCommand } from '../../src/commands/run/blocking.ts'
import { KEY_COMMANDS } from '../../src/commands/table.ts'
import { NULL_ARRAY, RespError, type Reply } from '../../src/commands/reply.ts'
import type { Attempt, Turn, Wait, Waiting } from '../../src/coordinator/api.ts'
import type { Coordinator } from '../../src/coordinator/coordinator.ts'
import type { Requester } from '../../src/coordinator/api.ts'
import { RondoError } from '../../src/core/errors.ts'
import type { CollectionKind } from './collections.ts'
import { callerOf } from './scripts.ts'
import type { Operation } from './schedule.ts'
import { consumerOf, streamToldBy } from './streams.ts'
import { plain, type Told } from './told.ts'
import { nameOf, type Done } from './workload.ts'
import type { Running, World } from './world.ts'

export type WaitKind = 'wait-pop' | 'wait-lowest' | 'wait-deliver'

interface Form {
  readonly words: (operation: Operation) => string[]
  /** What an attempt is, and what gives back what it has taken; null = it is not given back. */
  readonly attempt: CollectionKind
  readonly giveBack: CollectionKind | null
  readonly told: (answer: Reply) => Told
}

const seconds = ({ waitMs = 0 }: Operation) => String(waitMs / 1000)

const FORMS: Readonly<Record<WaitKind, Form>> = {
  'wait-pop': {
    words: (operation) => ['blpop', operation.key, seconds(operation)],
    attempt: 'pop',
    giveBack: 'unpop',
    told: (answer) => Number((plain(answer) as readonly string[])[1]),
  },
  'wait-lowest': {
    words: (operation) => ['bzpopmin', operation.key, seconds(operation)],
    attempt: 'pop-lowest',
    giveBack: 'unpop-lowest',
    told: (answer) => (plain(answer) as readonly string[]).slice(1).join('='),
  },
  'wait-deliver': {
    words: ({ key, value, waitMs }) =>
      `xreadgroup group g ${consumerOf(value)} count 1 block ${waitMs} streams ${key} >`.split(' '),
    attempt: 'deliver',
    giveBack: null,
    told: (answer) => streamToldBy('deliver', answer),
  },
}

export function isWait(kind: string): kind is WaitKind {
  return Object.hasOwn(FORMS, kind)
}

/** An operation of its own in the history. */
export interface Part {
  told(result: Told): void
  /** It was done; nobody was told what came of it. */
  ended(): void
  failed(error: unknown): void
}
export type BeginPart = (kind: CollectionKind, value: number, about: string | null) => Part

/** A client that waits now. */
interface Standing {
  readonly done: Done
  readonly running: Running
  readonly wait: Wait<Reply>
  /** Those that waited already when it came. */
  readonly before: readonly Standing[]
  failedAtMs: number
  isGone: boolean
  isOver: boolean
}

/** Turns of the event loop between the answer to one client and to the next. */
const NEXT_ONE_MS = 1

/** What is there is no answer to this one. */
const NOT_ITS_TURN = new RondoError('OVERLOADED', 'One before it has found nothing.', {
  outcome: 'not-applied',
})

class AskedTurn implements Turn {
  private readonly turn: Turn
  mayHaveTaken = true

  constructor(turn: Turn) {
    this.turn = turn
  }

  mayTake(): boolean {
    this.mayHaveTaken = this.turn.mayTake()
    return this.mayHaveTaken
  }

  hasFound(isFound: boolean): void {
    this.turn.hasFound(isFound)
  }
}

export class Waits {
  private readonly world: World
  private standing: Standing[] = []

  constructor(world: World) {
    this.world = world
  }

  /** What the client got; null = nothing. Rejects with the coordinator's error. */
  async wait(running: Running, done: Done, requester: Requester, begin: BeginPart): Promise<Told> {
    const { operation } = done
    const form = FORMS[operation.kind as WaitKind]
    const taken: Told[] = []
    let self: Standing | null = null
    let mayHaveTaken = false
    const tried = (waiting: Waiting<Reply>): Waiting<Reply> => ({
      ...waiting,
      attempt: async (place, turn) => {
        if (mayHaveTaken) this.world.fault(`${nameOf(done)} tries again, although it may have got something`)
        const part = begin(form.attempt, operation.value, null)
        try {
          const asked = new AskedTurn(turn)
          const found = await waiting.attempt(place, asked)
          if (!asked.mayHaveTaken) {
            part.failed(NOT_ITS_TURN)
            return found
          }
          return this.noted(found, form, { part, begin, value: operation.value }, taken)
        } catch (error) {
          if (self) self.failedAtMs = this.world.scheduler.nowMs
          mayHaveTaken = isUnknown(error)
          part.failed(error)
          throw error
        }
      },
    })
    const wait = this.begin(running, operation, requester, tried, () => self?.isGone ?? false)
    self = this.stand(done, running, wait)
    if (operation.leavesMs !== undefined) this.leaves(self, operation.leavesMs)
    try {
      const { answer, giveBack } = await wait.result
      const told = answer === null || answer === NULL_ARRAY ? null : form.told(answer)
      // As WaitingSlot does where nobody gets the reply.
      if (self.isGone) giveBack?.()
      this.checkTaken(self, form, self.isGone ? null : told, taken)
      if (told !== null) this.checkOrder(self)
      return self.isGone ? null : told
    } finally {
      self.isOver = true
      this.standing = this.standing.filter((one) => one !== self)
    }
  }

  private begin(
    { coordinator, host }: Running,
    operation: Operation,
    requester: Requester,
    tried: (waiting: Waiting<Reply>) => Waiting<Reply>,
    isGone: () => boolean,
  ): Wait<Reply> {
    const waiters = {
      wait: (waiting: Waiting<Reply>) => coordinator.waiters.wait(tried(waiting)),
    }
    const words = FORMS[operation.kind as WaitKind].words(operation)
    const caller = callerOf(withWaiters(coordinator, waiters), host, requester, operation.level)
    const command = KEY_COMMANDS.find(({ name }) => name === words[0]) as unknown as BlockingCommand
    const args = words.map((word) => Buffer.from(word))
    const plan = planOf(caller, args, command)
    const wait = plan && !(plan instanceof RespError) && beginWaiting(caller, args, command, plan, isGone)
    if (!wait || wait instanceof RespError) throw new Error(`${words.join(' ')} cannot wait`)
    return wait
  }

  private stand(done: Done, running: Running, wait: Wait<Reply>): Standing {
    const { kind, key } = done.operation
    const before = this.standing.filter((one) => {
      const { operation } = one.done
      return one.running === running && operation.kind === kind && operation.key === key && one.wait.isBlocked
    })
    const states = { failedAtMs: -Infinity, isGone: false, isOver: false }
    const self: Standing = { done, running, wait, before, ...states }
    this.standing.push(self)
    return self
  }

  private leaves(self: Standing, afterMs: number): void {
    const { host } = self.running
    this.world.scheduler.after(afterMs, () =>
      host.enter(() => {
        if (self.isOver) return
        this.world.counters.count('a client that waits has gone')
        self.isGone = true
        self.wait.end()
      }),
    )
  }

  private noted(
    found: Attempt<Reply>,
    form: Form,
    { part, begin, value }: { readonly part: Part; readonly begin: BeginPart; readonly value: number },
    taken: Told[],
  ): Attempt<Reply> {
    if (found.kind === 'nothing') {
      part.told(null)
      return found
    }
    const told = form.told(found.answer)
    part.told(told)
    if (found.kind === 'other-type' || form.giveBack === null) return found
    taken.push(told)
    const { giveBack } = found
    const kind = form.giveBack
    let isGivenBack = false
    let mayBeBack = false
    return {
      ...found,
      giveBack: async () => {
        this.world.counters.count('given back')
        if (mayBeBack) this.world.fault(`${told} is given back again, although it may be there`)
        const back = begin(kind, kind === 'unpop' ? Number(told) : value, String(told))
        if (!isGivenBack) taken.splice(taken.indexOf(told), 1)
        isGivenBack = true
        try {
          await giveBack!()
          back.ended()
        } catch (error) {
          mayBeBack = isUnknown(error)
          back.failed(error)
          throw error
        }
      },
    }
  }

  /** What was taken from the key is what the client got, or was given back. */
  private checkTaken(
    { done, isGone }: Standing,
    { giveBack }: Form,
    got: Told,
    taken: readonly Told[],
  ): void {
    if (giveBack === null) return
    const isSame = got === null ? taken.length === 0 : taken.length === 1 && taken[0] === got
    if (isSame) return
    const who = isGone ? 'has gone' : `got ${got ?? 'nothing'}`
    this.world.fault(`${nameOf(done)} ${who}, and ${taken.join(' and ') || 'nothing'} was taken for it`)
  }

  /** Whoever had waited before it at this coordinator, and could look, has been served as well. */
  private checkOrder({ done, before }: Standing): void {
    this.world.scheduler.after(NEXT_ONE_MS, () => {
      for (const one of before) {
        if (one.isOver || one.isGone || !one.running.host.alive || one.failedAtMs >= done.startMs) continue
        this.world.fault(`${nameOf(done)} was served before ${nameOf(one.done)}, which had waited longer`)
      }
    })
  }
}

function isUnknown(error: unknown): boolean {
  return error instanceof RondoError && error.details.outcome === 'unknown'
}

/** The coordinator, with other waiters. */
function withWaiters(
  coordinator: Coordinator,
  waiters: { readonly wait: (waiting: Waiting<Reply>) => Wait<Reply> },
): Coordinator {
  return new Proxy(coordinator, {
    get(target, name) {
      if (name === 'waiters') return waiters
      const own: unknown = Reflect.get(target, name)
      return typeof own === 'function' ? (own.bind(target) as unknown) : own
    },
  })
}
