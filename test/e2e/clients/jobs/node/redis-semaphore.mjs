// redis-semaphore: locks and semaphores.
import { Redis } from 'ioredis-5'
import { Mutex, Semaphore } from 'redis-semaphore'
import { end, lacks, password, port } from './job.mjs'

const client = new Redis(port, { password })
await lacks('Semaphore', () => new Semaphore(client, 'work', 2).acquire())
const mutex = new Mutex(client, 'work')
await mutex.acquire()
await lacks('release of Mutex', () => mutex.release())
end()
