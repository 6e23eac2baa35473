// BullMQ: queues of jobs, with workers that do them.
import { FlowProducer, Queue, QueueEvents, Worker } from 'bullmq'
import { between, end, password, port, same } from './job.mjs'

const JOBS = 20
// With a hash tag all keys share a replica set, which the scripts of BullMQ need.
const common = {
  prefix: '{bull}',
  connection: { host: '127.0.0.1', port, password, maxRetriesPerRequest: null },
}
const queue = new Queue('work', common)
const events = new QueueEvents('work', common)
await events.waitUntilReady()
const completed = new Map()
const allDone = new Promise((resolve) => {
  events.on('completed', ({ jobId, returnvalue }) => {
    completed.set(jobId, returnvalue)
    if (completed.size === JOBS) resolve()
  })
})

// ---- every job is done once, by two workers that wait; one job of ten fails at first.
const runs = new Map()
const work = async (job) => {
  runs.set(job.id, (runs.get(job.id) ?? 0) + 1)
  if (job.data.failsAtFirst && job.attemptsMade === 0) throw new Error('not yet')
  return job.data.n * 2
}
const workers = [1, 2].map(() => new Worker('work', work, { ...common, concurrency: 2 }))
await Promise.all(workers.map((worker) => worker.waitUntilReady()))
const data = Array.from({ length: JOBS }, (_, n) => ({ n, failsAtFirst: n % 10 === 0 }))
const added = await queue.addBulk(data.map((data) => ({ name: 'double', data, opts: { attempts: 2 } })))
await allDone
same(
  data.map(({ n }) => n * 2),
  added.map((job) => completed.get(job.id)),
)
same(
  data.map(({ failsAtFirst }) => (failsAtFirst ? 2 : 1)),
  added.map((job) => runs.get(job.id)),
)
same({ completed: JOBS, failed: 0, active: 0 }, await queue.getJobCounts('completed', 'failed', 'active'))

// ---- later, and a job that fails for good
const startedAt = Date.now()
const later = await queue.add('double', { n: 21 }, { delay: 300, removeOnComplete: true })
same('delayed', await later.getState())
same(42, await later.waitUntilFinished(events, 10_000))
between(300, 10_000, Date.now() - startedAt)
const hopeless = await queue.add('double', { failsAtFirst: true })
same('not yet', await hopeless.waitUntilFinished(events, 10_000).catch((error) => error.message))
same(
  ['not yet'],
  (await queue.getFailed()).map((job) => job.failedReason),
)
await Promise.all(workers.map((worker) => worker.close()))

// ---- priorities
const ordered = new Queue('ordered', common)
for (const priority of [3, 1, 2]) await ordered.add('one', { priority }, { priority })
const order = []
const takeOrdered = new Worker('ordered', async (job) => order.push(job.data.priority), common)
await new Promise((resolve) => takeOrdered.on('completed', () => order.length === 3 && resolve()))
same([1, 2, 3], order)
await takeOrdered.close()

// ---- a job after its children, and a rate: two in 400 ms
const flow = new FlowProducer(common)
const parts = [1, 2, 3].map((n) => ({ name: 'part', queueName: 'parts', data: { n } }))
const tree = await flow.add({ name: 'sum', queueName: 'sums', children: parts })
const sumEvents = new QueueEvents('sums', common)
await sumEvents.waitUntilReady()
const beganAt = Date.now()
const family = [
  new Worker('parts', async (job) => job.data.n, { ...common, limiter: { max: 2, duration: 400 } }),
  new Worker(
    'sums',
    async (job) => Object.values(await job.getChildrenValues()).reduce((a, b) => a + b),
    common,
  ),
]
same(6, await tree.job.waitUntilFinished(sumEvents, 10_000))
between(350, 10_000, Date.now() - beganAt)
await Promise.all(family.map((worker) => worker.close()))

// ---- every 100 ms
const repeated = new Queue('repeated', common)
await repeated.upsertJobScheduler('tick', { every: 100, limit: 3 }, { name: 'tick', data: { by: 'clock' } })
const ticks = []
const ticking = new Worker('repeated', async (job) => ticks.push(job.data.by), common)
await new Promise((resolve) => ticking.on('completed', () => ticks.length === 3 && resolve()))
same(['clock', 'clock', 'clock'], ticks)
await ticking.close()

end()
