/**
 * Plants each bug of sabotages.ts in a copy of the code, and lets the simulation loose on it.
 *
 * First the code as it is, whose failing seeds prove nothing and are left out; then one line for each planted bug, as soon
 * as it is known: found or not, by which seed, in how long. Exit 1 if one was not found, or could not be planted.
 */
import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { optionsOf, wholeNumber } from '../support/command-line.ts'
import { SABOTAGES, type Change, type Sabotage } from './sabotages.ts'

const USAGE = `npm run sabotage -- [options]

Plants known bugs in a copy of the code, one at a time, and ends with 1 if the simulation does not find each.

  --only a,b      these bugs only (names: test/simulation/sabotages.ts)
  --seeds 3000    how many runs at most for each bug
  --jobs 2        how many bugs at once; by default one a core`

const values = optionsOf(USAGE, {
  only: { type: 'string' },
  seeds: { type: 'string', default: '3000' },
  jobs: { type: 'string', default: String(availableParallelism()) },
})
wholeNumber('seeds', values.seeds, 1)

const root = fileURLToPath(new URL('../..', import.meta.url))
const cache = join(root, 'node_modules/.cache/rondo-sabotage')

interface Found {
  readonly sabotage: Sabotage
  readonly seed: number | null
  readonly violation: string
  readonly seconds: number
}

const PROFILES = [
  'converge',
  'changes',
  'removals',
  'failovers',
  'jobs',
  'flushes',
  'tags',
  'types',
  'parts',
  'near',
] as const
type Profile = (typeof PROFILES)[number]

const startedAt = performance.now()
const only = values.only?.split(',')
const chosen = SABOTAGES.filter(({ name }) => only?.includes(name) ?? true)
const unknown = only?.filter((name) => !SABOTAGES.some((one) => one.name === name)) ?? []
if (unknown.length > 0) throw new Error(`there is no sabotage called ${unknown.join(', ')}`)
const sound = { name: 'none', rule: '', file: '', find: '', replace: '' }
console.log(`${chosen.length} planted bugs, ${values.seeds} seeds each at most; first the code without any`)
/** Seeds that fail without any planted bug, by profile; null = without a profile. */
const sickOf = new Map<Profile | null, readonly number[]>()
const kinds = [null, ...PROFILES].filter((profile) => chosen.some((one) => profileOf(one) === profile))
await inTurns(kinds, async (profile) => {
  const name = profile ? `none-${profile}` : 'none'
  sickOf.set(profile, await failing({ ...sound, name, ...(profile && { [profile]: true }) }))
})
const sick = [...sickOf.values()].flat()
if (sick.length > 0) {
  console.log(`Without any planted bug these seeds fail, and are left out: ${sick.join(', ')}`)
}

const found: Found[] = []
await inTurns(chosen, async (sabotage) => {
  const result = await hunt(sabotage)
  found.push(result)
  console.log(`${String(found.length).padStart(2)}/${chosen.length} ${row(result)}`)
})
const missed = found.filter(({ seed }) => seed === null)
const minutes = (performance.now() - startedAt) / 60_000
console.log(
  `${found.length - missed.length} of ${found.length} found in ${minutes.toFixed(1)} minutes${missed.length > 0 ? '; NOT FOUND: ' : ''}${missed.map(({ sabotage }) => sabotage.name).join(', ')}`,
)
process.exitCode = missed.length > 0 ? 1 : 0

/** As many at once as there are jobs. */
async function inTurns<T>(all: readonly T[], run: (one: T) => Promise<void>): Promise<void> {
  const left = [...all]
  const jobs = Array.from({ length: wholeNumber('jobs', values.jobs, 1) }, async () => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) await run(one)
  })
  await Promise.all(jobs)
}

function profileOf(sabotage: Sabotage): Profile | null {
  return PROFILES.find((profile) => sabotage[profile]) ?? null
}

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
  const ignored = sickOf.get(profileOf(sabotage))!
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

function flags(sabotage: Sabotage): string[] {
  const given = PROFILES.filter((profile) => sabotage[profile]).map((profile) => `--${profile}`)
  return sabotage.types ? given : ['--plain', ...given]
}

/** Makes a copy of the code with the bug in it; returns where. */
function plant(sabotage: Sabotage): string {
  const { name, file, also } = sabotage
  const copy = join(cache, name)
  rmSync(copy, { recursive: true, force: true })
  mkdirSync(copy, { recursive: true })
  for (const part of ['src', 'test/simulation', 'test/support'])
    cpSync(join(root, part), join(copy, part), { recursive: true })
  writeFileSync(join(copy, 'package.json'), '{"type":"module"}')
  if (file === '') return copy
  change(copy, sabotage)
  if (also) change(copy, also)
  return copy
}

function change(copy: string, { file, find, replace }: Change): void {
  const path = join(copy, file)
  const parts = readFileSync(path, 'utf8').split(find)
  if (parts.length !== 2)
    throw new Error(`what is to be replaced stands ${parts.length - 1} times in ${file}`)
  writeFileSync(path, parts.join(replace))
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
