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

  it('works, with transactions over one hash tag, and is refused others', async () => {
    const { stdout, stderr } = await run(PYTHON, [JOBS, String(nodes!.port), 'refuse'])
    expect(stderr + stdout).to.equal('ok\n')
  })

  it('has transactions over any keys with RESP_CROSS_SET_MULTI=unordered', async () => {
    const lenient = await RondoUnderTest.start(nodes!.rondo.servers, { RESP_CROSS_SET_MULTI: 'unordered' })
    for (const key of await nodes!.rondo.list()) await nodes!.rondo.del(key)
    const { stdout, stderr } = await run(PYTHON, [JOBS, String(lenient.respPort), 'unordered'])
    await lenient.stop()
    expect(stderr + stdout).to.equal('ok\n')
  })
})
