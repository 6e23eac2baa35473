// BullMQ: queues of jobs.
import { Queue } from 'bullmq'
import { end, lacks, port } from './job.mjs'

const queue = new Queue('work', { connection: { host: '127.0.0.1', port } })
queue.on('error', () => undefined)
await lacks('queues', () => queue.add('send', { to: 'ada' }))
end()
