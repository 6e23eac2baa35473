// redis-semaphore: locks and semaphores.
import { Redis } from 'ioredis-5'
import { Mutex, Semaphore } from 'redis-semaphore'
import { end, password, port, same } from './job.mjs'

const client = new Redis(port, { password })
const semaphores = [1, 2].map(() => new Semaphore(client, 'work', 2))
for (const one of semaphores) await one.acquire()
const third = new Semaphore(client, 'work', 2, { acquireAttemptsLimit: 1 })
same('taken', await third.acquire().catch(() => 'taken'))
await semaphores[0].release()
await third.acquire()
for (const one of [semaphores[1], third]) await one.release()
const mutex = new Mutex(client, 'work')
await mutex.acquire()
await mutex.release()
await mutex.acquire()
await mutex.release()
end()
