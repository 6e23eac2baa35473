/**
 * Where the program begins. Modules are evaluated only when all that they import is loaded, which takes a while for the
 * program as a whole; until something handles SIGHUP, the signal ends the process. So that comes first, by itself.
 */
import './app/hang-up.ts'

await import('./app/program.ts')
