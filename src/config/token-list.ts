/**
 * Parses configured tokens: one, or two during a rotation, separated by white space, from a variable or a file.
 */
import { readFileSync, statSync } from 'node:fs'

const TOKEN = /^[\x21-\x7e]{16,512}$/
const MAX_TOKENS = 2
/** Fits two tokens of maximum length, and line ends. */
const MAX_FILE_BYTES = 2048

export const TOKENS_MUST_BE =
  'at least 16 and at most 512 visible ASCII characters without spaces, as `openssl rand -hex 32` prints; ' +
  'or two of them, with white space in between'

export interface TokenSource {
  readonly tokens: readonly string[]
  /** Instead of `tokens`. */
  readonly file: string | null
}

/** Null = invalid. */
export function parseTokens(text: string): string[] | null {
  const tokens = text.split(/[ \t\r\n]+/).filter((token) => token !== '')
  const isGood =
    tokens.length >= 1 && tokens.length <= MAX_TOKENS && tokens.every((token) => TOKEN.test(token))
  return isGood ? tokens : null
}

/**
 * @param name of the variable that names the file
 * @throws Error whose message reveals nothing of the file
 */
export function readTokens(name: string, { tokens, file }: TokenSource): readonly string[] {
  if (file === null) return tokens
  const found = parseTokens(readSmallFile(name, file))
  if (!found) throw new Error(`The file that ${name} names must hold ${TOKENS_MUST_BE}.`)
  return found
}

function readSmallFile(name: string, file: string): string {
  try {
    const stats = statSync(file)
    // A pipe cannot be read twice, and blocks until its writer opens it.
    if (!stats.isFile()) throw new Error('it is not a regular file')
    if (stats.size > MAX_FILE_BYTES) throw new Error(`it has more than ${MAX_FILE_BYTES} bytes`)
    return readFileSync(file, 'latin1')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new Error(`The file that ${name} names cannot be read: ${code ?? message}.`, { cause: error })
  }
}
