/** BullMQ with many workers at quorum, while a server dies: its scripts name most of their keys while they run. */
import { Queue, Worker } from 'bullmq'
import { expect } from 'chai'
import { until } from '../../support/rondo-under-test.ts'
import { startFourNodes, type FourNodes } from './four-nodes.ts'

const JOBS = 60

describe('a queue of BullMQ with many workers, at quorum', function () {
  this.timeout(90_000)
  let four: FourNodes
  let queue: Queue
  const worker = { close: () => Promise.resolve() }
  const optionsNow = () => ({
    prefix: '{bull}',
    connection: { host: '127.0.0.1', port: four.port, maxRetriesPerRequest: null },
  })
  before(async () => {
    four = await startFourNodes({
      READ_CONSISTENCY: 'quorum',
      WRITE_CONSISTENCY: 'quorum',
      REQUEST_TIMEOUT_MS: '8000',
      NODE_TIMEOUT_MS: '2000',
    })
    queue = new Queue('many', optionsNow())
    queue.on('error', () => undefined)
  })
  after(async () => {
    await worker.close()
    await queue.close()
    await four.stop()
  })
  const addAll = (count: number) =>
    queue.addBulk(
      Array.from({ length: count }, (_, n) => ({ name: 'one', data: { n }, opts: { priority: n % 3 } })),
    )

  it('does every job, also while a server dies', async () => {
    await addAll(JOBS)
    const [, victim] = four.rondo.serversOf('{bull}:many:wait')
    const done = new Set<number>()
    const work = (job: { readonly data: { readonly n: number } }) => Promise.resolve(done.add(job.data.n))
    const many = new Worker<{ n: number }>('many', work, { ...optionsNow(), concurrency: 25 })
    many.on('error', () => undefined)
    worker.close = () => many.close()
    await until('a third is done', () => Promise.resolve(done.size > JOBS / 3), 60_000)
    await victim!.kill()
    await until('all are done', () => Promise.resolve(done.size === JOBS), 60_000)
    await worker.close()
    const counts = await queue.getJobCounts()
    // Whether a job was completed is unknown to its worker if the server died just then: it is found stalled later.
    expect(counts.completed! + counts.active!).to.equal(JOBS)
    expect(counts).to.include({ failed: 0, waiting: 0, prioritized: 0 })
    expect(counts.active).to.be.below(JOBS / 2)
  })

  it('cleans, drains and obliterates hundreds of jobs', async () => {
    const completed = await queue.getCompletedCount()
    expect((await queue.clean(0, 1000, 'completed')).length).to.equal(completed)
    await addAll(JOBS)
    await queue.drain()
    expect(await queue.getJobCountByTypes('waiting', 'prioritized')).to.equal(0)
    await addAll(JOBS)
    await queue.obliterate({ force: true })
    expect(await queue.getJobCountByTypes('waiting', 'prioritized', 'completed')).to.equal(0)
  })
})
