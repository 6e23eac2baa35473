/** The page at `/`: the state of the nodes, and a line to try. One file, no outside resource. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

const HTML = readFileSync(new URL('./page.html', import.meta.url), 'utf8')

export function page(): string {
  return HTML
}

/** Only what the page itself holds may run, and it may talk to this origin only. */
export const PAGE_POLICY = {
  defaultSrc: ["'none'"],
  connectSrc: ["'self'"],
  imgSrc: ['data:'],
  scriptSrc: hashesOf('script'),
  styleSrc: hashesOf('style'),
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
}

function hashesOf(tag: 'script' | 'style'): string[] {
  const blocks = HTML.matchAll(new RegExp(`<${tag}>([^]*?)</${tag}>`, 'g'))
  return [...blocks].map(([, text]) => `'sha256-${createHash('sha256').update(text!).digest('base64')}'`)
}
