/**
 * POST /api/v1/command: any command of the Redis protocol that needs no connection. The table of commands decides what that
 * is (command-host.ts), so that a new command on keys is offered here without further work.
 *
 *   {"command": ["SET", "key", "value"]}  →  200 {"result": "OK"}
 *                                         →  4xx, 5xx problem+json with "error": "WRONGTYPE …", as the Redis protocol says it
 */
import { codedErrorOf } from '../../../commands/errors.ts'
import { RespError } from '../../../commands/reply.ts'
import { RondoError } from '../../../core/errors.ts'
import type { CommandHost } from '../../command-host.ts'
import type { BatchOptions } from '../batch.ts'
import { bodyOf, parseObjectInTurns, saysJson } from '../body.ts'
import type { Exchange } from '../exchange.ts'
import { databaseFromQuery } from '../key-path.ts'
import { Work } from '../turns.ts'
import { levelFromQuery } from '../value.ts'
import { argumentsOf, shapeOf } from './arguments.ts'
import { RequestCaller, type CallerOptions } from './caller.ts'
import { runAndSend } from './run.ts'

export interface CommandOptions extends BatchOptions {
  readonly commands: CommandHost
}

/** An object, its array, and `{"base64": "…"}` in it. */
const SHAPE = shapeOf(3)

/** What the query says beside the command. */
export type Asked = Pick<CallerOptions, 'database' | 'level'>

/** @param others names that the query may have as well @throws RondoError BAD_REQUEST */
export function askedOf(
  exchange: Exchange,
  { databases, readConsistency }: CommandOptions,
  ...others: readonly string[]
): Asked {
  const query = exchange.query(['consistency', 'db', ...others])
  const database = databaseFromQuery(query.db, databases)
  if (query.consistency === undefined) return { database }
  return { database, level: levelFromQuery(query.consistency, readConsistency) }
}

export async function handleCommand(exchange: Exchange, options: CommandOptions): Promise<void> {
  const { commands, store } = options
  const asked = askedOf(exchange, options)
  if (!saysJson(exchange.req)) {
    // This also stops cross-site posts of browsers: JSON needs a CORS preflight.
    throw new RondoError('BAD_REQUEST', 'Send JSON, and say so: Content-Type: application/json.')
  }
  const body = await bodyOf(exchange, options.maxBatchBytes, 'MAX_BATCH_BYTES')
  const work = new Work()
  const { command: list } = await parseObjectInTurns(body, ['command'], SHAPE, work)
  const args = await argumentsOf(exchange, list, work)
  const command = commands.offered(args)
  if (command instanceof RespError) throw codedErrorOf(command)
  const caller = new RequestCaller(exchange, commands, store, asked)
  await runAndSend(exchange, caller, command, args, 'marked', work)
}
