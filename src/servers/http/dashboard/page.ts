/**
 * The page at `/`: the state of the nodes, and a line to try.
 *
 * It is served as one file without any outside resource: page.html with page.css and browser.js put into it. The policy
 * names both blocks by their hashes, so nothing else can run there, whatever a node manages to call itself.
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

/** Only what the page itself holds may run, and it may talk to this origin only. */
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

/** Browsers hash a block after turning its line ends into \n; a checkout on Windows has others. */
function read(name: string): string {
  return readFileSync(new URL(name, import.meta.url), 'utf8').replaceAll('\r\n', '\n')
}

function hashOf(block: string): string {
  return `'sha256-${createHash('sha256').update(block).digest('base64')}'`
}
