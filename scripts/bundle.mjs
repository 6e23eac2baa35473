// Joins the modules of the program into a few files: loading each of five hundred took longer than all else that a start
// does. What it imports from node_modules stays there, and the library is left as the compiler wrote it.
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const SRC = fileURLToPath(new URL('../src/', import.meta.url))

/** Some modules read files that lie beside them: each still knows its own place. */
const ownPlaces = {
  name: 'own-places',
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const place = `new URL('./${relative(SRC, path).replace(/\.ts$/, '.js')}', import.meta.url).href`
      const text = readFileSync(path, 'utf8').replaceAll('import.meta.url', place)
      return { contents: text, loader: 'ts', resolveDir: dirname(path) }
    }),
}

for (const name of readdirSync('dist')) if (name.startsWith('program-')) rmSync(`dist/${name}`)
await build({
  entryPoints: ['src/main.ts', 'src/health-check.ts'],
  outdir: 'dist',
  // Beside the entries, from where the places of the modules are told.
  chunkNames: 'program-[hash]',
  bundle: true,
  splitting: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20.19',
  plugins: [ownPlaces],
})
