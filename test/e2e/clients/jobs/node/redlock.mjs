// Redlock: locks.
import { Redis } from 'ioredis-5'
import Redlock from 'redlock'
import { end, password, port, same } from './job.mjs'

const redlock = new Redlock([new Redis(port, { password })], { retryCount: 0 })
const lock = await redlock.lock('work', 10_000)
same('taken', await redlock.lock('work', 10_000).catch(() => 'taken'))
const longer = await lock.extend(20_000)
await longer.unlock()
await (await redlock.lock('work', 10_000)).unlock()
end()
