// BullMQ: queues of jobs.
import { Queue } from 'bullmq'
import { end, lacks, password, port } from './job.mjs'

// Its keys share a replica set.
const queue = new Queue('work', { prefix: '{bull}', connection: { host: '127.0.0.1', port, password } })
queue.on('error', () => undefined)
await lacks('queues', () =>
  queue.add('send', { to: 'ada' }).catch((error) => {
    // What its script calls is a command on streams.
    throw String(error).includes('Unknown Redis command called from script')
      ? new Error("unknown command 'XADD'")
      : error
  }),
)
end()
