// What `npm test` runs: finds a real redis-server (see find-redis-server.mjs), runs mocha with the arguments
// it was given, and ends with one plain line, `N passed, N failed` (and `, N skipped`).
//
// It fails when a test failed, when none ran, and when the tests left something open that keeps the process
// from ending. RONDO_FORBID_SKIPS=1 makes a skipped test (and a forgotten .only) a failure.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findRedisServer } from './find-redis-server.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const args = process.argv.slice(2)
const strict = process.env.RONDO_FORBID_SKIPS === '1' ? ['--forbid-pending', '--forbid-only'] : []

if (args.some((arg) => /^(-R|--reporter)(=|$)/.test(arg))) {
  console.error('npm test counts with a reporter of its own. For another one: npx mocha --reporter <name>')
  process.exit(1)
}

// mocha adds the files that are named to those of a `spec` in its configuration, so the default is here.
const namesFiles = args.some((arg) => /\.ts$|^--spec(=|$)/.test(arg))
const files = namesFiles ? [] : ['test/**/*.test.ts']

let redisServer
try {
  redisServer = await findRedisServer()
} catch (error) {
  console.error(error.message)
  process.exit(1)
}

const resultDir = mkdtempSync(join(tmpdir(), 'rondo-test-'))
const resultFile = join(resultDir, 'result.json')
const child = spawn(
  process.execPath,
  [
    join(root, 'node_modules/mocha/bin/mocha.js'),
    ...['--reporter', 'scripts/reporter.mjs'],
    ...strict,
    ...args,
    ...files,
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, REDIS_SERVER_BIN: redisServer, RONDO_TEST_RESULT: resultFile },
  },
)
// mocha's launcher hands on SIGINT only, and would leave the tests running at anything else.
process.on('SIGINT', () => undefined) // the terminal sends it to the whole group already
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill('SIGINT'))

const exitCode = await new Promise((done) => {
  child.on('error', () => done(1))
  child.on('exit', (code) => done(code ?? 1))
})

const outcome = readResult()
let { passed, failed, skipped, hung } = outcome ?? { passed: 0, failed: 0, skipped: 0, hung: false }
rmSync(resultDir, { recursive: true, force: true })
if (passed + failed === 0) console.error('No test ran.')
// Whatever else went wrong (a file that does not load, an error after the end, a handle left open) counts.
if (failed === 0 && (exitCode !== 0 || passed === 0 || hung)) failed = 1
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 ? 1 : 0

function readResult() {
  try {
    return JSON.parse(readFileSync(resultFile, 'utf8'))
  } catch {
    return undefined // mocha ended before its tests did
  }
}
