/**
 * The REST dialect of Upstash, for `@upstash/redis` and what is built on it: COMPAT_APIS=upstash, and `…/upstash` as the
 * client's URL.
 *
 *   POST /upstash              ["SET", "key", "value"]
 *   POST /upstash/pipeline     [["SET", "key", "value"], ["GET", "key"]]     each by itself
 *   POST /upstash/multi-exec   the same, as one transaction
 *   GET  /upstash/get/key      POST /upstash/set/key?EX=60 with the value as its body
 *
 * A slash more is no other path: `/upstash/`, `/upstash//pipeline`, `/upstash/pipeline/`.
 *
 * The first three take `?consistency=` and `?db=`, as POST /api/v1/command does; their lists leave the query free for it.
 *
 * A path has the command's arguments as its segments; a body follows them, and then the query. A GET may come from anything
 * that follows a link or loads an image, and may be sent again by whatever is on the way: it runs commands that change
 * nothing. With `upstash-get` it runs the others too, if DATA_TOKEN is set: then a link needs the token.
 *
 * Read your writes: the client sends `Upstash-Sync-Token` with every request, at first empty, then what the last answer said,
 * unless it was made with `readYourWrites: false`. At Upstash the token names what a replica must have seen before it may
 * answer. Here a majority answers instead: whoever sends the header, whatever is in it, reads and writes at `quorum` at
 * least, so that a read meets every write that was acknowledged before it, through any coordinator. The token that is
 * answered is the name of that level. (docs/decisions/0060)
 */
import { codedErrorOf } from '../../../commands/errors.ts'
import { RespError } from '../../../commands/reply.ts'
import { weakerOf } from '../../../core/consistency.ts'
import { RondoError } from '../../../core/errors.ts'
import { isRead } from '../../command-host.ts'
import { bodyOf, parseJsonInTurns } from '../body.ts'
import { argumentsOf, shapeOf } from '../commands/arguments.ts'
import { pipeline, queuedOf, sendResults, transaction } from '../commands/batch.ts'
import { RequestCaller } from '../commands/caller.ts'
import { askedOf, type Asked, type CommandOptions } from '../commands/command.ts'
import type { TextForm } from '../commands/reply-json.ts'
import { runAndSend } from '../commands/run.ts'
import { decodeQuery, TOKEN_PARAMETER, type Exchange } from '../exchange.ts'
import type { GuardOptions } from '../guard.ts'
import { textFromSegment } from '../key-path.ts'
import { Work } from '../turns.ts'
import { checkIntended, type CompatOptions } from './compat.ts'

export const UPSTASH_PREFIX = '/upstash/'
/** A URL that ends in a slash, to which a client adds `/pipeline`, and one that it adds a slash to itself. */
const JOINED = /^\/upstash\/+(?:(pipeline|multi-exec)\/*)?$/
const SYNC_TOKEN = 'upstash-sync-token'

export type UpstashOptions = CommandOptions & CompatOptions & Pick<GuardOptions, 'tokens'>

const BY_DEFAULT: Asked = { database: 0 }

/** The path that a client has meant which has joined it with one slash too many. */
export function withoutExtraSlashes(path: string): string {
  if (!path.startsWith(UPSTASH_PREFIX)) return path
  const found = JOINED.exec(path)
  if (!found) return path
  return found[1] === undefined ? '/upstash' : `${UPSTASH_PREFIX}${found[1]}`
}

/** POST /upstash. */
export async function runOne(exchange: Exchange, options: UpstashOptions): Promise<void> {
  const work = new Work()
  const asked = askedOf(exchange, options, TOKEN_PARAMETER)
  const list = await listIn(exchange, options, 2, work)
  await runAndAnswer(exchange, await argumentsOf(exchange, list, work), asked, options, work)
}

/** POST /upstash/pipeline and /upstash/multi-exec. */
export async function runMany(
  exchange: Exchange,
  call: 'pipeline' | 'multi-exec',
  options: UpstashOptions,
): Promise<void> {
  const work = new Work()
  const asked = askedOf(exchange, options, TOKEN_PARAMETER)
  const list = await listIn(exchange, options, 3, work)
  const queued = await queuedOf(exchange, list, options.commands, work)
  const caller = callerOf(exchange, asked, options)
  const reply =
    call === 'pipeline'
      ? await pipeline(caller, queued)
      : await transaction(exchange, caller, queued, options.commands)
  await sendResults(exchange, queued, reply, formOf(exchange), work)
}

/** GET and POST /upstash/<command>/<argument>/… */
export async function runPath(exchange: Exchange, options: UpstashOptions): Promise<void> {
  // No command has an empty name: slashes before it are of a URL that ends in one.
  const segments = exchange.path.slice(UPSTASH_PREFIX.length).replace(/^\/+/, '').split('/')
  const args = segments.map(textFromSegment)
  if (exchange.req.method === 'POST') {
    checkIntended(exchange, options)
    const body = await bodyOf(exchange, options.maxBatchBytes, 'MAX_BATCH_BYTES')
    if (body.length > 0) args.push(body)
  }
  for (const part of exchange.queryText.split('&')) {
    const [name, ...values] = part.split('=')
    if (name === '' || name === TOKEN_PARAMETER) continue
    args.push(Buffer.from(decodeQuery(name!)))
    if (values.length > 0) args.push(Buffer.from(decodeQuery(values.join('='))))
  }
  await runAndAnswer(exchange, args, BY_DEFAULT, options, new Work())
}

async function runAndAnswer(
  exchange: Exchange,
  args: readonly Buffer[],
  asked: Asked,
  options: UpstashOptions,
  work: Work,
): Promise<void> {
  const command = options.commands.offered(args)
  if (command instanceof RespError) throw codedErrorOf(command)
  if (!isRead(command) && !mayWrite(exchange, options)) {
    const sentence = `The command '${command.name}' changes keys: send it with POST.`
    exchange.fail(new RondoError('METHOD_NOT_ALLOWED', sentence), { headers: ['Allow', 'POST'] })
    return
  }
  await runAndSend(exchange, callerOf(exchange, asked, options), command, args, formOf(exchange), work)
}

function mayWrite({ req }: Exchange, { compatApis, tokens }: UpstashOptions): boolean {
  if (req.method === 'POST') return true
  return req.method === 'GET' && compatApis.includes('upstash-get') && tokens.data.length > 0
}

async function listIn(
  exchange: Exchange,
  options: UpstashOptions,
  depth: number,
  work: Work,
): Promise<unknown> {
  checkIntended(exchange, options)
  const body = await bodyOf(exchange, options.maxBatchBytes, 'MAX_BATCH_BYTES')
  return parseJsonInTurns(body, shapeOf(depth), work)
}

function callerOf(exchange: Exchange, asked: Asked, { commands, store }: UpstashOptions): RequestCaller {
  if (exchange.req.headers[SYNC_TOKEN] === undefined) {
    return new RequestCaller(exchange, commands, store, asked)
  }
  const caller = new RequestCaller(exchange, commands, store, { ...asked, atLeast: 'quorum' })
  exchange.alsoSend('Upstash-Sync-Token', weakerOf(caller.readLevel, caller.writeLevel))
  return caller
}

function formOf({ req }: Exchange): TextForm {
  return req.headers['upstash-encoding'] === 'base64' ? 'base64' : 'text'
}
