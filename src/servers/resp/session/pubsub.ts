/** SUBSCRIBE, PUBLISH and PUBSUB. coordinator/channels/ says how messages travel. */
import { Glob } from '../../../core/glob.ts'
import type { Caller, Execute } from '../../../commands/model.ts'
import { shown } from '../../../commands/arguments.ts'
import { checkPattern } from '../../../commands/pattern.ts'
import { errorOf, replyOf } from '../../../commands/errors.ts'
import { Pushes, RespError, type Reply } from '../../../commands/reply.ts'
import { CommandError } from '../../../commands/step.ts'
import type { ChannelKind, SubscriptionKind } from '../../../coordinator/api.ts'
import { claimEverything } from '../connection/claims.ts'
import { ReplySlot } from '../connection/slot.ts'
import type { Client, Command, Subcommands } from '../model.ts'
import { controlCommand, subcommandOf, withHelp, type SessionCommand } from './session-command.ts'

const CHANNELS_AT = { firstKey: 1, lastKey: -1, keyStep: 1 }

// ---- subscribing

/** The confirmations, and when they are true; null = now. */
interface Subscribing {
  readonly reply: Reply
  readonly waits: Promise<void> | null
}

type Change = (client: Client, args: readonly Buffer[]) => Subscribing

function subscribing(kind: SubscriptionKind, word: string): Change {
  return (client, args) => {
    const names = args.slice(1)
    for (const name of names) {
      if (kind === 'pattern') checkPattern(client.settings, name)
      else checkChannel(client, name)
    }
    if (client.account.isRefused) throw new CommandError(errorOf(client.account.refusal()).text)
    const { subscribed } = client
    const added: Buffer[] = []
    const told = names.map((name) => {
      if (subscribed.add(kind, name)) added.push(name)
      return [word, Buffer.from(name), subscribed.told(kind)]
    })
    return { reply: new Pushes(told), waits: subscribed.begin(kind, added) }
  }
}

function unsubscribing(kind: SubscriptionKind, word: string): Change {
  return (client, args) => {
    const { subscribed } = client
    let left = subscribed.told(kind)
    const told: Reply[][] =
      args.length === 1
        ? subscribed.removeKind(kind).map((name) => [word, name, --left])
        : args.slice(1).map((name) => {
            subscribed.remove(kind, name)
            return [word, Buffer.from(name), subscribed.told(kind)]
          })
    if (told.length === 0) told.push([word, null, left])
    return { reply: new Pushes(told), waits: null }
  }
}

function subscription(
  name: string,
  arity: number,
  change: Change,
  more: Partial<Command> = {},
): SessionCommand {
  const run: Command['run'] = (client, args, command) => {
    const slot = new ReplySlot(client, command)
    client.add(slot)
    // As in Redis, confirmations are sent whatever CLIENT REPLY says.
    slot.suppressed = false
    let changed: Subscribing
    try {
      changed = change(client, args)
    } catch (error) {
      slot.answer(replyOf(error))
      return
    }
    const { reply, waits } = changed
    if (waits) slot.answerWith(waits.then(() => reply).finally(claimEverything(client)))
    else slot.answer(reply)
  }
  const alone = async (client: Client, args: readonly Buffer[]): Promise<Reply> => {
    try {
      const { reply, waits } = change(client, args)
      await waits
      return reply
    } catch (error) {
      return replyOf(error)
    }
  }
  // In turn: what is published before it in a pipeline is handed out by then.
  return controlCommand(name, arity, run, {
    control: false,
    whileSubscribed: true,
    inTurn: true,
    alone,
    ...more,
  })
}

/** @throws CommandError */
function checkChannel({ settings: { maxKeyBytes } }: Pick<Caller, 'settings'>, name: Buffer): void {
  if (name.length <= maxKeyBytes) return
  throw new CommandError(
    `ERR The channel has ${name.length} bytes; at most ${maxKeyBytes} are allowed (MAX_KEY_BYTES).`,
  )
}

const notInTransaction: Partial<Command> = {
  alone: () => Promise.resolve(new RespError("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client")),
}

// ---- publishing

function publishing(kind: ChannelKind): Execute {
  return async (caller, args) => {
    const [, channel, bytes] = args
    checkChannel(caller, channel!)
    const tooLong = caller.store.checkValue(bytes!.length)
    if (tooLong) throw tooLong
    return caller.store.channels.publish(kind, channel!, bytes!)
  }
}

/** Replies later, without holding up the commands that follow; it needs no connection. */
function later(name: string, arity: number, answer: Execute, more: Partial<Command> = {}): SessionCommand {
  const execute: Execute = (caller, args) => answer(caller, args).catch(replyOf)
  const run: Command['run'] = (client, args, command) => {
    const slot = new ReplySlot(client, command)
    client.add(slot)
    slot.answerWith(execute(client, args))
  }
  return controlCommand(name, arity, run, { control: false, alone: execute, execute, ...more })
}

// ---- asking

const FLAGS = ['pubsub', 'loading', 'stale']

const subcommands = withHelp<Execute>(
  'pubsub',
  {
    channels: {
      arity: -2,
      since: '2.8.0',
      syntax: '[pattern:pattern]',
      flags: FLAGS,
      summary: 'Returns the channels that have subscribers at any coordinator.',
      answer: active('channel'),
    },
    numpat: {
      arity: 2,
      since: '2.8.0',
      flags: FLAGS,
      summary: 'Returns the number of different patterns that any coordinator has subscribers of.',
      answer: ({ store }: Caller) => store.channels.patterns(),
    },
    numsub: {
      arity: -2,
      since: '2.8.0',
      syntax: '[channel...]',
      flags: FLAGS,
      summary: 'Returns how many subscribers channels have at all coordinators.',
      answer: subscribers('channel'),
    },
    shardchannels: {
      arity: -2,
      since: '7.0.0',
      syntax: '[pattern:pattern]',
      flags: FLAGS,
      summary: 'Returns the shard channels that have subscribers at any coordinator.',
      answer: active('shard'),
    },
    shardnumsub: {
      arity: -2,
      since: '7.0.0',
      syntax: '[shardchannel...]',
      flags: FLAGS,
      summary: 'Returns how many subscribers shard channels have at all coordinators.',
      answer: subscribers('shard'),
    },
  },
  '6.2.0',
) as Subcommands<Execute>

function active(kind: ChannelKind): Execute {
  return async ({ store, settings }, args) => {
    if (args.length > 3) {
      throw new CommandError(
        `ERR unknown subcommand or wrong number of arguments for '${shown(args[1]!)}'. Try PUBSUB HELP.`,
      )
    }
    const pattern = args[2]
    if (!pattern) return store.channels.active(kind, () => true)
    checkPattern(settings, pattern)
    const glob = new Glob(pattern)
    return store.channels.active(kind, (channel) => glob.matches(channel))
  }
}

function subscribers(kind: ChannelKind): Execute {
  return async ({ store, settings }, args) => {
    const names = args.slice(2)
    for (const name of names) checkChannel({ settings }, name)
    if (names.length === 0) return []
    const counts = await store.channels.subscribers(kind, names)
    return names.flatMap((name, i) => [name, counts[i]!])
  }
}

export const PUBSUB_COMMANDS: readonly SessionCommand[] = [
  subscription('subscribe', -2, subscribing('channel', 'subscribe')),
  subscription('psubscribe', -2, subscribing('pattern', 'psubscribe')),
  subscription('ssubscribe', -2, subscribing('shard', 'ssubscribe'), { ...CHANNELS_AT, ...notInTransaction }),
  subscription('unsubscribe', -1, unsubscribing('channel', 'unsubscribe')),
  subscription('punsubscribe', -1, unsubscribing('pattern', 'punsubscribe')),
  subscription('sunsubscribe', -1, unsubscribing('shard', 'sunsubscribe'), CHANNELS_AT),
  later('publish', 3, publishing('channel')),
  later('spublish', 3, publishing('shard'), { ...CHANNELS_AT, lastKey: 1 }),
  later(
    'pubsub',
    -2,
    async (caller, args) => subcommandOf('pubsub', subcommands, args).answer(caller, args),
    { subcommands },
  ),
]
