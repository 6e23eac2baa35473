import { expect } from 'chai'
import fc from 'fast-check'
import {
  compareVersions,
  parseVersion,
  VERSION_BYTES,
  VERSION_ZERO,
  VersionClock,
  versionText,
} from '../../src/core/clock.ts'
import { version } from '../support/node-calls.ts'

const NOW = 1_700_000_000_000

function stamped(clock: VersionClock): Buffer {
  const bytes = Buffer.alloc(VERSION_BYTES)
  clock.stamp(bytes, 0)
  return bytes
}

describe('a version', () => {
  let now: number
  let clock: VersionClock
  beforeEach(() => {
    now = NOW
    clock = new VersionClock(() => now, 0xfedcba98) // lane 0x98
  })

  it('is milliseconds, counter and coordinator, big-endian', () => {
    stamped(clock)
    expect(stamped(clock).toString('hex')).to.equal('018bcfe56800' + '0198' + 'fedcba98')
  })

  it('is written where it is asked for and nowhere else', () => {
    const target = Buffer.alloc(20, 0xee)
    clock.stamp(target, 4)
    expect(target.subarray(0, 4).toString('hex') + target.subarray(16).toString('hex')).to.equal(
      'ee'.repeat(8),
    )
    expect(target.readUIntBE(4, 6)).to.equal(NOW)
  })

  it('leaves out fractions of a millisecond', () => {
    now = NOW + 0.999
    expect(stamped(clock).readUIntBE(0, 6)).to.equal(NOW)
  })

  it('is later than the last one, though the clock stands still or is set back', () => {
    let last = stamped(clock)
    for (const ms of [NOW, NOW, NOW - 86_400_000, 0, NOW - 1, NOW + 1, NOW]) {
      now = ms
      const next = stamped(clock)
      expect(compareVersions(last, next)).to.be.below(0)
      last = next
    }
  })

  it('goes on into the next millisecond when the counter is used up', () => {
    for (let i = 0; i < 0x100; i++) stamped(clock)
    expect(stamped(clock)).to.deep.equal(version({ ms: NOW + 1, counter: 0x98, coordinator: 0xfedcba98 }))
    now = NOW + 1 // the clock catches up with it
    expect(stamped(clock)).to.deep.equal(version({ ms: NOW + 1, counter: 0x198, coordinator: 0xfedcba98 }))
  })

  it('leaps over what others make meanwhile, and at most 100 ms ahead of the clock', () => {
    clock.leap(2.5)
    expect(stamped(clock).readUIntBE(0, 6)).to.equal(NOW + 3)
    for (let i = 0; i < 10; i++) clock.leap(1e9)
    expect(stamped(clock).readUIntBE(0, 6)).to.equal(NOW + 100)
  })

  it('leaps over sixteen of others where their versions are further ahead', () => {
    const other = new VersionClock(() => NOW + 10_000, 1)
    clock.observe(stamped(other))
    const next = Array.from({ length: 16 }, () => stamped(other))
    clock.leap(1)
    expect(compareVersions(next.at(-1)!, stamped(clock))).to.be.below(0)
  })

  it('is later than every version seen, by however much another clock is ahead', () => {
    const seen = fc.record({
      ms: fc.integer({ min: 0, max: 2 ** 47 - 1 }),
      counter: fc.integer({ min: 0, max: 0xffff }),
      coordinator: fc.integer({ min: 0, max: 0xffffffff }),
    })
    const step = fc.oneof(seen, fc.integer({ min: -1000, max: 1000 }))
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const own = new VersionClock(() => now, 7)
        const before: Buffer[] = []
        for (const each of steps) {
          if (typeof each === 'number') now += each
          else {
            const bytes = version(each)
            own.observe(bytes)
            before.push(bytes)
          }
          const next = stamped(own)
          for (const other of before) expect(compareVersions(other, next)).to.be.below(0)
          before.push(next)
        }
      }),
    )
  })

  it('never shares milliseconds and counter with another coordinator of another lane, whoever observes whom', () => {
    const clocks = [3, 0x1ff, 0xabcd00].map((coordinator) => new VersionClock(() => now, coordinator))
    const seen = new Set<string>()
    for (let i = 0; i < 3000; i++) {
      const made = stamped(clocks[i % 3]!)
      for (const other of clocks) if (i % 5 < 2) other.observe(made)
      if (i % 7 === 0) now++
      seen.add(made.toString('hex', 0, 8))
    }
    expect(seen.size).to.equal(3000)
  })

  it('shares them no longer with one of the same lane, once it has seen a version of that', () => {
    const [a, b] = [0x12_03, 0x45_03].map((coordinator) => new VersionClock(() => now, coordinator))
    const eight = (one: VersionClock | undefined) => stamped(one!).toString('hex', 0, 8)
    expect(eight(a)).to.equal(eight(b))
    a!.observe(stamped(b!))
    const seen = new Set<string>()
    for (let i = 0; i < 1000; i++) {
      for (const one of [a, b]) seen.add(eight(one))
      if (i % 7 === 0) now++
    }
    expect(seen.size).to.equal(2000)
  })

  it('observes at a place within other bytes', () => {
    clock.observe(Buffer.concat([Buffer.alloc(5, 0xff), version({ ms: NOW + 50 }), Buffer.alloc(9, 0xff)]), 5)
    expect(stamped(clock).readUIntBE(0, 6)).to.equal(NOW + 50)
  })

  it('is unmoved by bytes that no clock can have made', () => {
    clock.observe(Buffer.alloc(VERSION_BYTES, 0xff))
    expect(stamped(clock).readUIntBE(0, 6)).to.equal(NOW)
  })

  it('is unmoved by older versions', () => {
    clock.observe(version({ ms: NOW - 1, counter: 0xffff, coordinator: 0xffffffff }))
    expect(stamped(clock)).to.deep.equal(version({ ms: NOW, counter: 0x98, coordinator: 0xfedcba98 }))
  })

  it('compares by time, then counter, then coordinator', () => {
    const sorted = [
      VERSION_ZERO,
      version({ ms: 0, counter: 0, coordinator: 1 }),
      version({ ms: 1, counter: 0xffff, coordinator: 0xffffffff }),
      version({ ms: 0x80, counter: 1, coordinator: 9 }),
      version({ ms: 0x100, counter: 0, coordinator: 9 }),
      version({ ms: 0x100, counter: 2, coordinator: 1 }),
      version({ ms: 0x100, counter: 2, coordinator: 0x80000000 }),
      version({ ms: 2 ** 47, counter: 0, coordinator: 0 }),
    ]
    for (const [i, a] of sorted.entries()) {
      for (const [j, b] of sorted.entries())
        expect(Math.sign(compareVersions(a, b))).to.equal(Math.sign(i - j))
    }
  })

  it('is 24 hexadecimal digits as text, and nothing else is one', () => {
    const bytes = version({ ms: NOW, counter: 1, coordinator: 0xabcdef01 })
    const text = '018bcfe568000001abcdef01'
    expect(versionText(bytes)).to.equal(text)
    expect(versionText(new Uint8Array(bytes))).to.equal(text)
    expect(Buffer.from(parseVersion(text)!)).to.deep.equal(bytes)
    expect(Buffer.from(parseVersion(text.toUpperCase())!)).to.deep.equal(bytes)
    for (const bad of [
      '',
      text.slice(1),
      `${text}0`,
      `${text.slice(1)}g`,
      ` ${text.slice(1)}`,
      `${text}\n`,
    ]) {
      expect(parseVersion(bad), JSON.stringify(bad)).to.equal(null)
    }
  })
})
