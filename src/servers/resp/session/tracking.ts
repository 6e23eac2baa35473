/** CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR, and which keys a client may keep that reads them. */
import { parseInteger, word } from '../../../commands/arguments.ts'
import { keysAmong } from '../../../commands/key-places.ts'
import { MANY_ARGUMENTS } from '../../../commands/model.ts'
import { OK, RespMap, RespSet, type Reply } from '../../../commands/reply.ts'
import { CommandError, NOT_INTEGER, SYNTAX_ERROR, type Step } from '../../../commands/step.ts'
import { storedKey } from '../../../core/keys.ts'
import { ClientTracking, type TrackingMode } from '../connection/client-tracking.ts'
import type { Client, Command, Queued } from '../model.ts'

/** Of one client. */
const MAX_PREFIXES = 1000

interface Options extends TrackingMode {
  readonly redirect: Client | null
  readonly prefixes: readonly Buffer[]
}

// ---- the commands

export async function tracking(client: Client, args: readonly Buffer[]): Promise<Reply> {
  if (client.user === 'admin') {
    // Keys are told to whoever may read them.
    throw new CommandError("NOPERM User admin has no permissions to run the 'client|tracking' command")
  }
  const options = optionsOf(client, args)
  const given = word(args[2]!)
  if (given === 'OFF') client.stopTracking()
  else if (given === 'ON') {
    check(client.tracking, options)
    await begin(client, options)
  } else throw new CommandError(SYNTAX_ERROR)
  return OK
}

async function begin(client: Client, { redirect, prefixes, ...mode }: Options): Promise<void> {
  client.tracking ??= new ClientTracking(client, client.store.tracking)
  await client.tracking.begin(mode, redirect, prefixes)
}

/** @throws CommandError */
function optionsOf(client: Client, args: readonly Buffer[]): Options {
  let redirect: Client | null = null
  const prefixes: Buffer[] = []
  const flags = { BCAST: false, OPTIN: false, OPTOUT: false, NOLOOP: false }
  for (let i = 3; i < args.length; i++) {
    const option = word(args[i]!)
    const value = args[i + 1]
    if (option === 'REDIRECT' && value) {
      if (redirect) throw new CommandError('ERR A client can only redirect to a single other client')
      redirect = clientOf(client, value)
      i++
    } else if (option === 'PREFIX' && value) {
      prefixes.push(value)
      i++
    } else if (Object.hasOwn(flags, option)) flags[option as keyof typeof flags] = true
    else throw new CommandError(SYNTAX_ERROR)
  }
  const { BCAST: isBroadcast, OPTIN: optIn, OPTOUT: optOut, NOLOOP: noLoop } = flags
  return { redirect, prefixes, isBroadcast, optIn, optOut, noLoop }
}

/** Of this process: other coordinators, and other workers, have their own. @throws CommandError */
function clientOf({ server }: Client, value: Buffer): Client {
  const id = parseInteger(value)
  if (id === null) throw new CommandError(NOT_INTEGER)
  for (const client of server.connections) if (client.id === id && !client.gone) return client
  throw new CommandError('ERR The client ID you want redirect to does not exist')
}

/** @throws CommandError */
function check(former: ClientTracking | null, options: Options): void {
  const { isBroadcast, optIn, optOut, prefixes } = options
  const before = former?.mode
  const switching = (what: string) =>
    `ERR You can't switch ${what} before disabling tracking for this client, and then re-enabling it with a different mode.`
  if (!isBroadcast && prefixes.length > 0) {
    throw new CommandError('ERR PREFIX option requires BCAST mode to be enabled')
  }
  if (before && before.isBroadcast !== isBroadcast) throw new CommandError(switching('BCAST mode on/off'))
  if (isBroadcast && (optIn || optOut)) {
    throw new CommandError('ERR OPTIN and OPTOUT are not compatible with BCAST')
  }
  if (optIn && optOut) throw new CommandError("ERR You can't specify both OPTIN mode and OPTOUT mode")
  if (before && ((optIn && before.optOut) || (optOut && before.optIn))) {
    throw new CommandError(switching('OPTIN/OPTOUT mode'))
  }
  if (isBroadcast) checkPrefixes(prefixes, [...(former?.prefixes.values() ?? [])])
}

/** @param former none of which begins with another one @throws CommandError if one of them all does */
function checkPrefixes(given: readonly Buffer[], former: readonly Buffer[]): void {
  if (given.length + former.length > MAX_PREFIXES) {
    throw new CommandError(`ERR A client may have ${MAX_PREFIXES} prefixes at most (a fixed limit).`)
  }
  const pair = overlappingPair(given, former)
  if (!pair) return
  const { prefix, which, other } = pair
  throw new CommandError(
    `ERR Prefix '${prefix.toString('latin1')}' overlaps with ${which} prefix '${other.toString('latin1')}'. ` +
      'Prefixes for a single client must not overlap.',
  )
}

interface Overlapping {
  readonly prefix: Buffer
  readonly which: string
  readonly other: Buffer
}

/** In the order of bytes, whatever begins with a prefix stands right behind it. */
function overlappingPair(given: readonly Buffer[], former: readonly Buffer[]): Overlapping | null {
  const all = [...former, ...given]
  const order = all.map((_, place) => place).sort((one, other) => Buffer.compare(all[one]!, all[other]!))
  let found: readonly [number, number] | null = null
  for (let i = 1; i < order.length; i++) {
    const [one, other] = [order[i - 1]!, order[i]!]
    const pair = [Math.min(one, other), Math.max(one, other)] as const
    const isEarlier = found === null || pair[0] < found[0] || (pair[0] === found[0] && pair[1] < found[1])
    if (isEarlier && all[other]!.subarray(0, all[one]!.length).equals(all[one]!)) found = pair
  }
  if (!found) return null
  const [one, other] = found.map((place) => all[place]!) as [Buffer, Buffer]
  return found[0] < former.length
    ? { prefix: other, which: 'an existing', other: one }
    : { prefix: one, which: 'another provided', other }
}

export function caching({ tracking }: Client, args: readonly Buffer[]): Reply {
  if (!tracking) {
    const sentence =
      'ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled'
    throw new CommandError(sentence)
  }
  const given = word(args[2]!)
  if (given !== 'YES' && given !== 'NO') throw new CommandError(SYNTAX_ERROR)
  const { optIn, optOut } = tracking.mode
  if (given === 'YES' ? !optIn : !optOut) {
    const mode = given === 'YES' ? 'OPTIN' : 'OPTOUT'
    throw new CommandError(
      `ERR CLIENT CACHING ${given} is only valid when tracking is enabled in ${mode} mode.`,
    )
  }
  tracking.isCachingGiven = true
  return OK
}

export function getRedirection({ tracking }: Client): Reply {
  return tracking ? tracking.redirectId : -1
}

export function trackingInfo({ tracking }: Client): Reply {
  const flags = tracking ? flagsOf(tracking) : ['off']
  return new RespMap([
    ['flags', new RespSet(flags)],
    ['redirect', tracking ? tracking.redirectId : -1],
    ['prefixes', [...(tracking?.prefixes.values() ?? [])]],
  ])
}

function flagsOf({ mode, isCachingGiven, isBroken }: ClientTracking): string[] {
  const flags = ['on']
  if (mode.isBroadcast) flags.push('bcast')
  if (mode.optIn) flags.push('optin', ...(isCachingGiven ? ['caching-yes'] : []))
  if (mode.optOut) flags.push('optout', ...(isCachingGiven ? ['caching-no'] : []))
  if (mode.noLoop) flags.push('noloop')
  if (isBroken) flags.push('broken_redirect')
  return flags
}

// ---- what is read

/**
 * Before a command of a client that tracks keys begins.
 *
 * @returns false: it reads so many keys that they are not remembered, and nothing of it may be kept
 */
export function noteReads(
  client: Client,
  tracking: ClientTracking,
  command: Command,
  args: readonly Buffer[],
): boolean {
  if (!tracking.isReading || !command.flags.includes('readonly')) return true
  if (args.length > MANY_ARGUMENTS) return false
  const { settings, store } = client
  const keys = keysOf(command, args).filter((key) => store.checkKey(key) === null)
  if (keys.length > 0) tracking.remember(keys.map((key) => storedKey(settings.database, key)))
  return true
}

/** The same for EXEC. @param steps of the commands, with the names that their keys have on the nodes */
export function noteTransaction(
  tracking: ClientTracking,
  queued: readonly Queued[],
  steps: readonly (Step | null)[],
): void {
  for (const [i, { command }] of queued.entries()) {
    const step = steps[i]
    if (step?.needs === 'value') step.script?.keepReads((keys) => tracking.remember(keys))
    if (step && command.flags.includes('readonly')) tracking.remember(step.keys)
  }
}

/** Whether the client may keep what EXEC reads: CLIENT CACHING may have come before MULTI, or may be one of the commands. */
export function keepsTransaction({ tracking }: Client, queued: readonly Queued[]): ClientTracking | null {
  if (!tracking || tracking.isReading) return tracking
  const isCaching = ({ command, args }: Queued) =>
    command.name === 'client' && word(args[1]!) === 'CACHING' && word(args[2] ?? args[1]!) === 'YES'
  return tracking.mode.optIn && queued.some(isCaching) ? tracking : null
}

function keysOf(command: Command, args: readonly Buffer[]): readonly Buffer[] {
  if (command.firstKey !== 0 || command.keyCountAt !== undefined) return keysAmong(command, args)
  const place = command.subcommands?.[word(args[1] ?? Buffer.alloc(0)).toLowerCase()]?.keyAt
  const key = place && args[place.index]
  return key ? [key] : []
}

/** After a command has begun: CLIENT CACHING is for one command, or for one transaction. */
export function noteBegun(
  { transaction }: Client,
  tracking: ClientTracking,
  { name }: Command,
  isRemembered: boolean,
): void {
  if (!isRemembered) tracking.changed(null)
  if (tracking.isCachingGiven && name !== 'client' && transaction === null) tracking.isCachingGiven = false
}
