/** redis-py with RESP_CROSS_SET_MULTI=refuse; libraries.test.ts has it as it is by default. */
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { RondoUnderTest } from '../../support/rondo-under-test.ts'
import { PASSWORD } from './job-runner.ts'
import { PYTHON, run, startFourNodes, whyNoPython, type FourNodes } from './four-nodes.ts'

const JOB = fileURLToPath(new URL('jobs/python/python3-redis.py', import.meta.url))

describe('redis-py', function () {
  this.timeout(40_000)
  let nodes: FourNodes | undefined

  before(async function () {
    const reason = await whyNoPython()
    if (reason) {
      this.test!.parent!.title += ` (skipped: ${reason})`
      this.skip()
    }
    nodes = await startFourNodes({ DATA_TOKEN: PASSWORD })
  })
  after(() => nodes?.stop())

  it('is refused transactions over several hash tags with RESP_CROSS_SET_MULTI=refuse', async () => {
    const strict = await RondoUnderTest.start(nodes!.rondo.servers, {
      DATA_TOKEN: PASSWORD,
      RESP_CROSS_SET_MULTI: 'refuse',
    })
    for (const key of await nodes!.rondo.list()) await nodes!.rondo.del(key)
    const { stdout, stderr } = await run(PYTHON, ['-B', JOB, String(strict.respPort), PASSWORD, 'refuse'])
    await strict.stop()
    expect(stderr + stdout).to.equal('ok\n')
  })
})
