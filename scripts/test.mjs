// What `npm test` runs: finds a real redis-server (see find-redis-server.mjs), runs mocha with the arguments
// it was given, and ends with one plain line, `N passed, N failed` (and `, N skipped`).
//
// Without named files the tests run in groups, each in a process of its own, one more side by side than there are
// cores, at most RONDO_TEST_JOBS (3): those that start the whole program mostly wait for it. What a group printed appears
// when it has ended; failures are repeated at the end.
//
// It fails when a test failed, when none ran, and when the tests left something open that keeps a process
// from ending. RONDO_FORBID_SKIPS=1 makes a skipped test (and a forgotten .only) a failure.
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { findRedisServer } from './find-redis-server.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const args = process.argv.slice(2)
const strict = process.env.RONDO_FORBID_SKIPS === '1' ? ['--forbid-pending', '--forbid-only'] : []
const MAX_FILES_OF_PROGRAM = 7
const MAX_FILES = 15
// With options the launcher, which takes those of node too, but needs a process of its own.
const MOCHA =
  args.length > 0
    ? [join(root, 'node_modules/mocha/bin/mocha.js')]
    : ['--import', 'tsx', join(root, 'node_modules/mocha/lib/cli/cli.js')]

const USAGE = `Usage: npm test [-- <test files> <options of mocha>]

Builds, then runs the tests: all of them, in groups side by side, or the files that are named.

  npm test -- test/core/ring.test.ts     one file
  npm test -- --grep 'hash tags'         by name
  npx mocha --help                       the options of mocha, of which all but --reporter can be given

RONDO_FORBID_SKIPS=1   a skipped test is a failure, and so is a forgotten .only
RONDO_TEST_JOBS=1      one group after the other, printed as it goes
RONDO_SEED=7           of the random tests, which print theirs when they fail
REDIS_SERVER_BIN=...   the redis-server or valkey-server, 6.2 or newer; otherwise from PATH`

if (args.includes('--help') || args.includes('-h')) {
  console.log(USAGE)
  process.exit(0)
}
if (args.some((arg) => /^(-R|--reporter)(=|$)/.test(arg))) {
  console.error('npm test counts with a reporter of its own. For another one: npx mocha --reporter <name>')
  process.exit(1)
}

// mocha adds the files that are named to those of a `spec` in its configuration, so the default is here.
const namesFiles = args.some((arg) => /\.ts$|^--spec(=|$)/.test(arg))
const groups = namesFiles ? [[]] : groupsOf(testFiles())
const jobs = Math.min(Number(process.env.RONDO_TEST_JOBS ?? 3), availableParallelism() + 1, groups.length)

let redisServer
try {
  redisServer = await findRedisServer()
} catch (error) {
  console.error(error.message)
  process.exit(1)
}

const resultDir = mkdtempSync(join(tmpdir(), 'rondo-test-'))
const running = new Set()
// mocha's launcher hands on SIGINT only, and would leave the tests running at anything else.
let isInterrupted = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => interrupt(signal))

const total = { passed: 0, failed: 0, skipped: 0, failures: [] }
const queue = [...groups.entries()]
await Promise.all(Array.from({ length: jobs }, (_, lane) => work(lane)))
rmSync(resultDir, { recursive: true, force: true })

if (total.passed + total.failed === 0) {
  console.error('No test ran.')
  total.failed = 1
}
if (jobs > 1 && total.failures.length > 0)
  console.log(`Failed:\n${total.failures.map((failure) => `  ${failure}\n`).join('')}`)
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : ''
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`)
process.exitCode = total.failed > 0 ? 1 : 0

function testFiles() {
  const names = readdirSync(join(root, 'test'), { recursive: true })
  return names.filter((name) => name.endsWith('.test.ts')).map((name) => join('test', name))
}

/** Each loads the program anew, so they are few. Those that start the whole program take longest and come first. */
function groupsOf(files) {
  const startsProgram = (file) => /^test\/(e2e\/|[^/]*$)/.test(file)
  return [
    ...spread(files.filter(startsProgram), MAX_FILES_OF_PROGRAM),
    ...spread(
      files.filter((file) => !startsProgram(file)),
      MAX_FILES,
    ),
  ]
}

function spread(files, most) {
  const count = Math.ceil(files.length / most)
  return Array.from({ length: count }, (_, i) => files.sort().filter((_, j) => j % count === i))
}

/** The first lane takes from the end, where those are that compute: beside them others wait. */
async function work(lane) {
  const take = () => (lane === 0 && jobs > 1 ? queue.pop() : queue.shift())
  for (let next = take(); next && !isInterrupted; next = take()) await runGroup(...next)
}

async function runGroup(index, files) {
  const resultFile = join(resultDir, `${index}.json`)
  const child = spawn(
    process.execPath,
    [
      ...MOCHA,
      ...['--reporter', 'scripts/reporter.mjs'],
      ...(process.stdout.isTTY ? ['--color'] : []),
      ...strict,
      ...args,
      ...files,
    ],
    {
      cwd: root,
      stdio: jobs > 1 ? ['ignore', 'pipe', 'pipe'] : 'inherit',
      env: { ...process.env, REDIS_SERVER_BIN: redisServer, RONDO_TEST_RESULT: resultFile },
    },
  )
  running.add(child)
  const [exitCode, ...printed] = await Promise.all([
    new Promise((done) => {
      child.on('error', () => done(1))
      child.on('exit', (code) => done(code ?? 1))
    }),
    ...(jobs > 1 ? [buffer(child.stdout), buffer(child.stderr)] : []),
  ])
  running.delete(child)
  process.stdout.write(Buffer.concat(printed))

  const { passed, failed, skipped, hung, failures } = readResult(resultFile)
  total.passed += passed
  total.skipped += skipped
  total.failures.push(...failures)
  // Whatever else went wrong (a file that does not load, an error after the end, a handle left open) counts.
  const isBroken = failed === 0 && (exitCode !== 0 || hung)
  if (isBroken) total.failures.push(`not a test, but the process of: ${files.join(' ')}`)
  total.failed += isBroken ? 1 : failed
}

function interrupt(signal) {
  isInterrupted = true
  // The terminal sends SIGINT to the whole group already.
  if (signal !== 'SIGINT') for (const child of running) child.kill('SIGINT')
}

function readResult(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return { passed: 0, failed: 0, skipped: 0, hung: false, failures: [] } // mocha ended before its tests did
  }
}
