/** redis-py, as Debian has it, does its ordinary work against Rondo as against a Redis. */
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { RondoUnderTest } from '../../support/rondo-under-test.ts'
import { PYTHON, run, startFourNodes, whyNoPython, type FourNodes } from './four-nodes.ts'

const JOBS = fileURLToPath(new URL('jobs.py', import.meta.url))

describe('redis-py', function () {
  this.timeout(40_000)
  let nodes: FourNodes | undefined

  before(async function () {
    const reason = await whyNoPython()
    if (reason) {
      this.test!.parent!.title += ` (skipped: ${reason})`
      this.skip()
    }
    nodes = await startFourNodes()
  })
  after(() => nodes?.stop())

  it('works, with transactions over any keys', async () => {
    const { stdout, stderr } = await run(PYTHON, [JOBS, String(nodes!.port), 'unordered'])
    expect(stderr + stdout).to.equal('ok\n')
  })

  it('is refused transactions over several hash tags with RESP_CROSS_SET_MULTI=refuse', async () => {
    const strict = await RondoUnderTest.start(nodes!.rondo.servers, { RESP_CROSS_SET_MULTI: 'refuse' })
    for (const key of await nodes!.rondo.list()) await nodes!.rondo.del(key)
    const { stdout, stderr } = await run(PYTHON, [JOBS, String(strict.respPort), 'refuse'])
    await strict.stop()
    expect(stderr + stdout).to.equal('ok\n')
  })
})
