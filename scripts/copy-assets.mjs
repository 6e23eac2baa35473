// tsc emits only JavaScript: carry along what the code reads at run time (Lua scripts, the Lua engine with its licenses, the
// page, messages of gRPC).
import { cpSync, readdirSync } from 'node:fs'
import { extname, join } from 'node:path'

if (process.argv.includes('--help')) {
  console.log(
    'Usage: npm run build\n\nCompiles src to dist, and copies what is not TypeScript (Lua scripts, the Lua engine, the page, messages of gRPC).',
  )
  process.exit(0)
}

const carried = new Set(['.lua', '.wasm', '.html', '.css', '.svg', '.js', '.json', '.proto', '.md'])

for (const entry of readdirSync('src', { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !carried.has(extname(entry.name))) continue
  const from = join(entry.parentPath, entry.name)
  cpSync(from, from.replace(/^src/, 'dist'))
}
