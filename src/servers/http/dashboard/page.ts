/**
 * The page at `/`: the state of the nodes, and commands to try.
 *
 * It is one file without external resources: page.html with page.css and browser.js inlined. The content security policy
 * allows both blocks by hash, so nothing else can run, whatever text a node reports.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

const STYLE = read('page.css')
const SCRIPT = read('browser.js')
const HTML = read('page.html')
  .replace('<style></style>', () => `<style>${STYLE}</style>`)
  .replace('<script></script>', () => `<script>${SCRIPT}</script>`)

export function page(): string {
  return HTML
}

/** Only the page's own blocks may run, and they may connect to this origin only. */
export const PAGE_POLICY = {
  defaultSrc: ["'none'"],
  connectSrc: ["'self'"],
  imgSrc: ['data:'],
  scriptSrc: [hashOf(SCRIPT)],
  styleSrc: [hashOf(STYLE)],
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
}

/** Browsers normalize line ends to \n before hashing; a checkout on Windows has other line ends. */
function read(name: string): string {
  return readFileSync(new URL(name, import.meta.url), 'utf8').replaceAll('\r\n', '\n')
}

function hashOf(block: string): string {
  return `'sha256-${createHash('sha256').update(block).digest('base64')}'`
}
