/**
 * Where the program begins. Modules are evaluated only when all that they import is loaded, which takes a while for the
 * program as a whole; until something handles SIGHUP, the signal ends the process. So that comes first, by itself.
 */
import './app/sighup.ts'
import { readArguments } from './app/command-line.ts'

const printed = readArguments(process.argv.slice(2))
if (printed) {
  process.stdout.write(printed.stdout ?? '')
  process.stderr.write(printed.stderr ?? '')
  process.exitCode = printed.exitCode
} else {
  await import('./app/program.ts')
}
