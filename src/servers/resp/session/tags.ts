/** RONDO TAG and RONDO INVALIDATE (servers/tags.ts). */
import { errorOf } from '../../../commands/errors.ts'
import { writeOptions } from '../../../commands/run/held.ts'
import { OK, type Reply } from '../../../commands/reply.ts'
import { storedKey } from '../../../core/keys.ts'
import { addTags, invalidate, tagKeys, tagsOf } from '../../tags.ts'
import type { Client, Subcommand } from '../model.ts'

type TagSubcommand = Subcommand<(client: Client, args: readonly Buffer[]) => Promise<Reply>>

const SINCE = '0.2.0'
const FLAGS = ['write', 'denyoom', 'noscript']

export const TAG_SUBCOMMANDS: Readonly<Record<string, TagSubcommand>> = {
  tag: {
    arity: -3,
    since: SINCE,
    syntax: 'key:string [tag:string...]',
    flags: FLAGS,
    summary: 'Adds tags to the value of a key, or returns those that it has.',
    answer: tag,
  },
  invalidate: {
    arity: 3,
    since: SINCE,
    syntax: 'tag:string',
    flags: ['write', 'noscript'],
    summary: 'Invalidates all values that have a tag.',
    answer: invalidateTag,
  },
}

async function tag(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const { store, settings, readLevel } = client
  const unusable = store.checkKey(args[2]!)
  if (unusable) return errorOf(unusable)
  const key = storedKey(settings.database, Buffer.from(args[2]!))
  if (args.length === 3) return tagsOf(store, key, { requester: client, level: readLevel })
  const tags = tagKeys(store, settings.database, args.slice(3))
  return addTags(store, key, tags, writeOptions(client))
}

async function invalidateTag(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const { store, settings } = client
  const [tag] = tagKeys(store, settings.database, [args[2]!])
  await invalidate(store, tag!, writeOptions(client))
  return OK
}
