/** SELECT: the database of a connection. */
import { databaseArgument } from '../../../commands/keys/database.ts'
import { OK, type Reply } from '../../../commands/reply.ts'
import { CommandError } from '../../../commands/step.ts'
import type { Client } from '../model.ts'

/** @throws CommandError */
export function select(client: Client, args: readonly Buffer[]): Reply {
  const { settings } = client.server
  client.settings = { ...settings, database: databaseArgument(args[1]!, settings) }
  return OK
}

/** The same; without effect for an invalid index. */
export function trySelect(client: Client, args: readonly Buffer[]): void {
  try {
    select(client, args)
  } catch (error) {
    if (!(error instanceof CommandError)) throw error
  }
}
