/**
 * Where settings come from: the environment, which overrides the file `.env.local`.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'dotenv'
import { VARIABLES } from './variables.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** `.env.local` exists and cannot be read: a sentence for people. */
export class SettingsFileError extends Error {
  override readonly name = 'SettingsFileError'
}

/**
 * The process environment, which overrides `.env.local` in the given folder. A variable that is set to an empty string
 * also overrides the file: `REDIS_URLS= npm start` runs on memory nodes.
 *
 * @throws SettingsFileError if the file exists but cannot be read
 */
export function readEnvironment(cwd: string, processEnv: Environment = process.env): Environment {
  return { ...readFile(cwd), ...processEnv }
}

/** A sentence for each name in `.env.local` that is not a setting: it is ignored, and is probably mistyped. */
export function unknownNames(cwd: string): string[] {
  const known = VARIABLES.map(({ name }) => name)
  return Object.keys(readFile(cwd))
    .filter((name) => !known.includes(name))
    .map((name) => {
      const [nearest] = known
        .map((one) => ({ one, steps: editSteps(name.toUpperCase(), one) }))
        .sort((a, b) => a.steps - b.steps)
      const hint = nearest!.steps <= name.length / 3 ? `; did you mean ${nearest!.one}?` : ''
      return `.env.local sets ${JSON.stringify(name)}, which is not a setting, and is ignored${hint}`
    })
}

/** How many characters have to be inserted, removed or replaced to get from one word to the other (Levenshtein). */
function editSteps(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const replaced = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[to.length]!
}

function readFile(cwd: string): Environment {
  const path = join(cwd, '.env.local')
  let text = ''
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EISDIR')
      throw new SettingsFileError(
        `${path} is a directory, not a file (Docker makes one where the file of a volume is missing): remove it, ` +
          'and put the file in its place if there is one.',
        { cause: error },
      )
    if (code !== 'ENOENT')
      throw new SettingsFileError(
        `${path} exists but cannot be read (${code}): correct its permissions or remove it.`,
        { cause: error },
      )
  }
  return parse(text.replace(/^\uFEFF/, ''))
}
