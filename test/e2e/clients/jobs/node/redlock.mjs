// Redlock: locks.
import { Redis } from 'ioredis-5'
import Redlock from 'redlock'
import { end, lacks, password, port } from './job.mjs'

const redlock = new Redlock([new Redis(port, { password })], { retryCount: 0 })
let refused
redlock.on('clientError', (error) => (refused = error))
await lacks('locks', () =>
  redlock.lock('work', 10_000).catch(() => {
    throw refused
  }),
)
end()
