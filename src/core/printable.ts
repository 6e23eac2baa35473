/** Makes external text safe for log lines, errors and /status: printable, on one line, and short. */

const MAX_CHARACTERS = 200
const MAX_NAME_CHARACTERS = 512

/** Whether a value is a valid name of a cluster, a node or a run. */
export function isName(text: unknown): text is string {
  return typeof text === 'string' && text.length > 0 && printable(text, MAX_NAME_CHARACTERS) === text
}

export function printable(said: string | Buffer, maxCharacters = MAX_CHARACTERS): string {
  const text = typeof said === 'string' ? said : said.toString('utf8', 0, 4 * maxCharacters + 4)
  const cut = text.length > maxCharacters ? `${text.slice(0, maxCharacters)}…` : text
  return cut.replace(/[\p{C}\u2028\u2029]/gu, '?')
}
