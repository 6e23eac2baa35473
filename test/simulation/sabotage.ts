/**
 * Plants each bug of sabotages.ts in a copy of the code, and lets the simulation loose on it.
 *
 *   tsx test/simulation/sabotage.ts [--only name] [--seeds 1000] [--jobs 2]
 *
 * Ends in a table: found or not, by which seed, in how long. Exit 1 if one was not found. Seeds on which the code fails
 * without a planted bug prove nothing and are left out.
 */
import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { SABOTAGES, type Sabotage } from './sabotages.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    seeds: { type: 'string', default: '1000' },
    jobs: { type: 'string', default: '2' },
  },
})

const root = fileURLToPath(new URL('../..', import.meta.url))
const cache = join(root, 'node_modules/.cache/rondo-sabotage')

interface Found {
  readonly sabotage: Sabotage
  readonly seed: number | null
  readonly violation: string
  readonly seconds: number
}

const chosen = SABOTAGES.filter(({ name }) => values.only === undefined || name === values.only)
const sound = { name: 'none', rule: '', file: '', find: '', replace: '' }
const [plain, converging] = await Promise.all([
  failing(sound),
  failing({ ...sound, name: 'none-converge', converge: true }),
])
if (plain.length + converging.length > 0) {
  console.log(
    `Without any planted bug these seeds fail, and are left out: ${[...plain, ...converging].join(', ')}`,
  )
}

const left = [...chosen]
const found: Found[] = []
await Promise.all(
  Array.from({ length: Number(values.jobs) }, async () => {
    for (let sabotage = left.shift(); sabotage; sabotage = left.shift()) {
      const result = await hunt(sabotage)
      found.push(result)
      console.log(row(result))
    }
  }),
)
const missed = found.filter(({ seed }) => seed === null)
console.log(
  `${found.length - missed.length} of ${found.length} found${missed.length > 0 ? '; NOT FOUND: ' : ''}${missed.map(({ sabotage }) => sabotage.name).join(', ')}`,
)
process.exitCode = missed.length > 0 ? 1 : 0

function row({ sabotage, seed, violation, seconds }: Found): string {
  const place = seed === null ? 'NOT FOUND' : `seed ${seed}`
  return `${sabotage.name.padEnd(30)} ${place.padEnd(10)} ${seconds.toFixed(1).padStart(6)} s  ${violation.slice(0, 110)}`
}

async function failing(sabotage: Sabotage): Promise<number[]> {
  const output = await run(plant(sabotage), [
    '--all',
    '--no-shrink',
    '--seeds',
    values.seeds,
    ...flags(sabotage),
  ])
  return [...output.matchAll(/^seed (\d+): at/gm)].map((match) => Number(match[1]))
}

async function hunt(sabotage: Sabotage): Promise<Found> {
  const startedAt = performance.now()
  const ignored = sabotage.converge ? converging : plain
  let copy: string
  try {
    copy = plant(sabotage)
  } catch (error) {
    return { sabotage, seed: null, violation: `NOT PLANTED: ${(error as Error).message}`, seconds: 0 }
  }
  const output = await run(copy, [
    '--no-shrink',
    '--seeds',
    values.seeds,
    '--ignore',
    ignored.join(','),
    ...flags(sabotage),
  ])
  const seconds = (performance.now() - startedAt) / 1000
  const first = /^seed (\d+): at [\d.]+ ms: (.*)$/m.exec(output)
  if (!first && !output.includes(' 0 failed'))
    throw new Error(`${sabotage.name}: the run broke\n${output.slice(-2000)}`)
  return { sabotage, seed: first ? Number(first[1]) : null, violation: first?.[2] ?? '', seconds }
}

function flags({ converge }: Sabotage): string[] {
  return converge ? ['--converge'] : []
}

/** Makes a copy of the code with the bug in it; returns where. */
function plant({ name, file, find, replace }: Sabotage): string {
  const copy = join(cache, name)
  rmSync(copy, { recursive: true, force: true })
  mkdirSync(copy, { recursive: true })
  for (const part of ['src', 'test/simulation', 'test/support'])
    cpSync(join(root, part), join(copy, part), { recursive: true })
  writeFileSync(join(copy, 'package.json'), '{"type":"module"}')
  if (file === '') return copy
  const path = join(copy, file)
  const text = readFileSync(path, 'utf8')
  const parts = text.split(find)
  if (parts.length !== 2)
    throw new Error(`${name}: what is to be replaced stands ${parts.length - 1} times in ${file}`)
  writeFileSync(path, parts.join(replace))
  return copy
}

function run(copy: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', join(copy, 'test/simulation/run.ts'), ...args],
      { cwd: root },
    )
    let output = ''
    child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()))
    child.stderr.on('data', (bytes: Buffer) => (output += bytes.toString()))
    child.on('error', reject)
    child.on('close', () => resolve(output))
  })
}
