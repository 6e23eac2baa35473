/** The subcommands of a command: which one is meant, its number of arguments, and the help. */
import { shown, word } from './arguments.ts'
import { parseSyntax, usageOf } from './docs-syntax.ts'
import { Simple, type Reply } from './reply.ts'
import { CommandError } from './step.ts'

/**
 * @param reasons why Rondo does not have some subcommands of Redis, by lower-case name
 * @throws CommandError
 */
export function subcommandOf<S extends { readonly arity: number }>(
  name: string,
  subcommands: Readonly<Record<string, S>>,
  args: readonly Buffer[],
  reasons: Readonly<Record<string, string>> = {},
): S {
  const given = word(args[1]!).toLowerCase()
  if (!Object.hasOwn(subcommands, given)) {
    const why = Object.hasOwn(reasons, given) ? ` (${reasons[given]})` : ''
    const text = `ERR unknown subcommand '${shown(args[1]!)}'. Try ${name.toUpperCase()} HELP.`
    throw new CommandError(text + why)
  }
  const subcommand = subcommands[given]!
  const { arity } = subcommand
  if (arity > 0 ? args.length !== arity : args.length < -arity) throw wrongNumber(`${name}|${given}`)
  return subcommand
}

export function wrongNumber(name: string): CommandError {
  return new CommandError(`ERR wrong number of arguments for '${name}' command`)
}

export function helpOf(
  name: string,
  subcommands: Readonly<Record<string, { readonly syntax?: string; readonly summary: string }>>,
): Reply {
  const lines = [`${name.toUpperCase()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:`]
  for (const [subcommand, { syntax = '', summary }] of Object.entries(subcommands)) {
    const usage = usageOf(parseSyntax(syntax))
    lines.push(`${subcommand.toUpperCase()} ${usage}`.trimEnd(), `    ${summary}`)
  }
  return lines.map((line) => new Simple(line))
}
