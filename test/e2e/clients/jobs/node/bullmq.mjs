// BullMQ: queues of jobs.
import { Queue } from 'bullmq'
import { end, lacks, password, port } from './job.mjs'

const queue = new Queue('work', { connection: { host: '127.0.0.1', port, password } })
queue.on('error', () => undefined)
await lacks('queues', () => queue.add('send', { to: 'ada' }))
end()
