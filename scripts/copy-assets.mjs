// tsc emits only JavaScript: carry what the code reads at run time (Lua scripts, the page) along.
import { cpSync, readdirSync } from 'node:fs'
import { extname, join } from 'node:path'

const carried = new Set(['.lua', '.html', '.css', '.svg', '.js', '.json'])

for (const entry of readdirSync('src', { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !carried.has(extname(entry.name))) continue
  const from = join(entry.parentPath, entry.name)
  cpSync(from, from.replace(/^src/, 'dist'))
}
