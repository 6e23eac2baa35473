/** RONDO DELETE and RONDO JOBS: delete jobs (servers/delete-jobs.ts), as over HTTP. */
import { word } from '../../../commands/arguments.ts'
import type { Reply } from '../../../commands/reply.ts'
import { CommandError, SYNTAX_ERROR } from '../../../commands/step.ts'
import type { Client, Subcommand } from '../model.ts'
import { plainReply } from './members.ts'

type JobSubcommand = Subcommand<(client: Client, args: readonly Buffer[]) => Promise<Reply>>

const SINCE = '0.2.0'

export const JOB_SUBCOMMANDS: Readonly<Record<string, JobSubcommand>> = {
  delete: {
    arity: 4,
    since: SINCE,
    syntax: 'by(PREFIX prefix:string|MATCH pattern:pattern)',
    flags: ['write', 'noscript'],
    summary: 'Begins a job that deletes all keys with a prefix, or that match a pattern.',
    answer: create,
  },
  jobs: {
    arity: -2,
    since: SINCE,
    syntax: '[job(id:string [action(CANCEL)])]',
    flags: ['noscript'],
    summary: 'Shows the delete jobs, or one, or cancels it.',
    answer: jobs,
  },
}

async function create(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const kind = word(args[2]!)
  if (kind !== 'PREFIX' && kind !== 'MATCH') throw new CommandError(SYNTAX_ERROR)
  const { settings, server, writeLevel } = client
  const job = await server.options.deleteJobs.create({
    database: settings.database,
    by: kind === 'PREFIX' ? 'prefix' : 'match',
    pattern: Buffer.from(args[3]!),
    level: writeLevel,
  })
  return job.id
}

async function jobs(client: Client, args: readonly Buffer[]): Promise<Reply> {
  const { deleteJobs } = client.server.options
  if (args.length > 4 || (args.length === 4 && word(args[3]!) !== 'CANCEL')) {
    throw new CommandError(SYNTAX_ERROR)
  }
  if (args.length === 2) return (await deleteJobs.list()).map(plainReply)
  const id = args[2]!.toString('latin1')
  return plainReply(await (args.length === 4 ? deleteJobs.cancel(id) : deleteJobs.get(id)))
}
