import { expect } from 'chai'
import { STEPS } from '../../../src/commands/specs.ts'
import type { Held, StepOf } from '../../../src/commands/step.ts'
import { plain } from '../../simulation/told.ts'
import { LIMITS } from '../../support/steps.ts'

const NOW_MS = 1_000_000
const AHEAD_MS = 40

describe('XCLAIM and XAUTOCLAIM of what was delivered by a coordinator whose clock is ahead', () => {
  it('claim it with a min-idle-time of 0, as in Redis, and not with one of 1', () => {
    let held: Held | null = null
    const run = (command: string, nowMs: number) => {
      const words = command.split(' ').map((word) => Buffer.from(word))
      const step = STEPS[words[0]!.toString()]!.make(words, nowMs, LIMITS) as StepOf<'value', Held>
      const { reply, next } = step.apply([held], nowMs)
      held = next?.[0] ?? held
      return plain(reply)
    }
    run('xgroup create key g 0 mkstream', NOW_MS)
    run('xadd key 1-1 field value', NOW_MS)
    run('xreadgroup group g alice streams key >', NOW_MS + AHEAD_MS)
    expect(run('xautoclaim key g bob 1 0', NOW_MS)).to.deep.equal(['0-0', [], []])
    expect(run('xclaim key g bob 1 1-1 justid', NOW_MS)).to.deep.equal([])
    expect(run('xautoclaim key g bob 0 0 justid', NOW_MS)).to.deep.equal(['0-0', ['1-1'], []])
    expect(run('xreadgroup group g bob streams key 0', NOW_MS + AHEAD_MS)).to.have.length(1)
    expect(run('xclaim key g carol 0 1-1 justid', NOW_MS)).to.deep.equal(['1-1'])
  })
})
