/**
 * Reads whose reply is thrown away (CLIENT REPLY OFF or SKIP). A client waits for no reply, so nothing would slow it down: a
 * hundred GETs are 4 KB to send, and hundreds of megabytes to fetch. What such a read leaves behind in Redis is that its
 * keys were accessed lately, which matters to eviction. So it looks at their heads, without their values, as TOUCH does. A
 * read of no particular key (KEYS, SCAN) leaves nothing behind, and is not carried out; nor is any, once the client has
 * closed its end.
 */
import { keysAmong } from '../../../commands/key-places.ts'
import { OK } from '../../../commands/reply.ts'
import { KEY_COMMANDS } from '../../../commands/table.ts'
import type { Client, Command } from '../model.ts'
import { runKeyed } from './run-keyed.ts'

const TOUCH = KEY_COMMANDS.find(({ name }) => name === 'touch')!
const TOUCH_NAME = Buffer.from(TOUCH.name)

export function isUnheardRead({ suppressedReplies }: Client, { flags, control }: Command): boolean {
  return suppressedReplies > 0 && !control && flags.includes('readonly')
}

export function runUnheard(client: Client, args: readonly Buffer[], command: Command): void {
  const keys = client.inputEnded ? [] : keysAmong(command, args)
  if (keys.length === 0) client.say(OK, command)
  else runKeyed(client, command, [TOUCH_NAME, ...keys], { ...TOUCH, name: command.name })
}
