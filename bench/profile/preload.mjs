// Loaded into a target by `npm run bench -- --profile <folder>`: SIGWINCH starts the CPU profiler, the next SIGWINCH stops
// it and writes $BENCH_PROFILE-<n>.cpuprofile (for Chrome's DevTools, speedscope, or the summary of the bench itself).
// (SIGUSR2 would stop Rondo: close-with-grace listens to it.) The profiler of `node --cpu-prof` covers the whole life of a process, start and filling included.
import { renameSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'

const SAMPLE_EVERY_MICROS = 500

const session = new Session()
session.connect()
let running = false
let written = 0

process.on('SIGWINCH', () => {
  if (!running) {
    running = true
    session.post('Profiler.enable')
    session.post('Profiler.setSamplingInterval', { interval: SAMPLE_EVERY_MICROS })
    session.post('Profiler.start')
    return
  }
  running = false
  session.post('Profiler.stop', (error, result) => {
    if (error) throw error
    const file = `${process.env.BENCH_PROFILE}-${++written}.cpuprofile`
    writeFileSync(`${file}.part`, JSON.stringify(result.profile))
    renameSync(`${file}.part`, file)
  })
})
