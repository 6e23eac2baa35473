/** Arguments of the benchmarks that are started by their file. */
import { readFileSync } from 'node:fs'

/** With `--help`, prints the comment at the top of that file, and ends. */
export function helpIfAsked(file: string): void {
  if (!process.argv.includes('--help')) return
  const [, comment = ''] = /^\/\*\*\n(.*?)\n \*\//s.exec(readFileSync(new URL(file), 'utf8')) ?? []
  process.stdout.write(`${comment.replace(/^ \* ?/gm, '')}\n`)
  process.exit(0)
}

/** The whole number above 0 at this place of the arguments; ends the program where there is another text. */
export function numberAt(place: number, name: string, otherwise: number): number {
  const text = process.argv[2 + place]
  if (text === undefined) return otherwise
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  process.stderr.write(`${name} is a whole number, not ${JSON.stringify(text)}; --help tells more.\n`)
  process.exit(2)
}
