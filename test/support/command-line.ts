/** Options of the commands of package.json: `--help` prints the usage, and a wrong option says which, without a stack trace. */
import { parseArgs, type ParseArgsConfig } from 'node:util'

type Options = NonNullable<ParseArgsConfig['options']>
type Values<T extends Options> = ReturnType<typeof parseArgs<{ options: T }>>['values']

export function optionsOf<const T extends Options>(usage: string, options: T): Values<T> {
  const help = { type: 'boolean', default: false } as const
  try {
    const { values } = parseArgs({ options: { ...options, help } })
    if ((values as { help?: boolean }).help !== true) return values
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`)
    process.exit(2)
  }
  console.log(usage)
  process.exit(0)
}

/** A whole number of at least `least`, or the command ends with a sentence. */
export function wholeNumber(option: string, text: string, least = 0): number {
  const number = Number(text)
  if (/^\d+$/.test(text) && number >= least) return number
  console.error(`--${option} must be a whole number of at least ${least}, and is "${text}".`)
  process.exit(2)
}
