// mocha's spec reporter, which also writes what happened to the file that scripts/test.mjs reads, and which
// sees to it that a run which does not end by itself fails, with a list of what keeps it open.
import Mocha from 'mocha'
import { writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers'

const exitWaitMs = Number(process.env.RONDO_EXIT_WAIT_MS ?? 20_000)
const MAX_REASON_LINES = 12
const MAX_REASON_LENGTH = 2000

export default class Reporter extends Mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options)
    const failures = []
    runner.on('fail', (test, error) => failures.push(`${test.titlePath().join(' › ')}\n${reasonOf(error)}`))
    runner.once('end', () => {
      const { passes, failures: failed, pending } = runner.stats
      const result = { passed: passes, failed, skipped: pending, hung: false, failures }
      write(result)
      // unref: the timer itself keeps nothing open, it fires only where something else does.
      setTimeout(() => {
        write({ ...result, hung: true })
        console.error(`The tests ended ${exitWaitMs / 1000} s ago and the process is still kept open by:`)
        for (const line of openHandles()) console.error(`  ${line}`)
        process.on('exit', () => (process.exitCode = 1)) // after mocha's own, which sets it to the failures
        process.exit(1)
      }, exitWaitMs).unref()
    })
  }
}

function write(result) {
  const file = process.env.RONDO_TEST_RESULT
  if (file) writeFileSync(file, JSON.stringify(result))
}

/** For the end of a long log, of which the middle may not be at hand: the head of the message, indented. */
function reasonOf(error) {
  const lines = String(error?.message ?? error)
    .slice(0, MAX_REASON_LENGTH)
    .split('\n')
    .filter((line) => line.trim() !== '')
  return lines
    .slice(0, MAX_REASON_LINES)
    .map((line) => `      ${line}`)
    .join('\n')
}

function openHandles() {
  // Node's public list has only the kinds; this one, though unofficial, has the things themselves.
  const handles = (process._getActiveHandles?.() ?? []).filter(
    (handle) => !(handle.fd >= 0 && handle.fd <= 2),
  )
  const kinds = process.getActiveResourcesInfo()
  return [`kinds: ${kinds.join(', ')}`, ...handles.map(describe)]
}

function describe(handle) {
  const name = handle.constructor?.name ?? 'handle'
  if (handle.spawnargs) return `${name} ${handle.pid}: ${handle.spawnargs.join(' ')}`
  if (handle.remotePort) return `${name} to ${handle.remoteAddress}:${handle.remotePort}`
  const address = handle.listening ? handle.address() : undefined
  if (address) return `${name} listening on ${address.port ?? address}`
  return name
}
