/**
 * The configuration table of README.md, generated and read back.
 *
 *     npx tsx test/support/config-table.ts     prints it, to paste below the heading in README.md
 */
import { pathToFileURL } from 'node:url'
import { VARIABLES, type Variable } from '../../src/config/variables.ts'

export interface DocumentedVariable {
  name: string
  default: string
  meaning: string
}

export const DOCUMENTED = VARIABLES.filter((variable) => !variable.hidden)

export function configMarkdown(variables: readonly Variable[] = DOCUMENTED): string {
  const lines = variables.map((variable) => {
    const shown = variable.default === '' ? 'not set' : `\`${variable.default}\``
    return `| \`${variable.name}\` | ${shown} | ${variable.meaning} |`
  })
  return ['| variable | default | meaning |', '| --- | --- | --- |', ...lines, ''].join('\n')
}

/** Rows like | `NAME` | default | meaning |, wherever they stand. The default comes without its backticks. */
export function parseConfigMarkdown(markdown: string): DocumentedVariable[] {
  return [...markdown.matchAll(/^\| *`([A-Z][A-Z0-9_]*)` *\| *([^|]*?) *\| *([^|]*?) *\|$/gm)].map(
    ([, name = '', value = '', meaning = '']) => ({
      name,
      default: value === 'not set' ? '' : value.replace(/^`(.*)`$/, '$1'),
      meaning,
    }),
  )
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.stdout.write(configMarkdown())
