/** What a memory node does when its files are cut off, damaged, missing, too new, or cannot be written. */
import { expect } from 'chai'
import type { RondoEvent } from '../../../src/core/events.ts'
import { MARKER_KEY } from '../../../src/core/keys.ts'
import { DiskError } from '../../../src/nodes/memory/disk/load.ts'
import type { MemoryNode } from '../../../src/nodes/memory/memory-node.ts'
import { CrashDisk } from '../../support/crash-disk.ts'
import { openData, openDiskNode, type DiskNode } from '../../support/disk-nodes.ts'
import { get, hint, record, store, version, type StoreResult } from '../../support/node-calls.ts'
import { seeded } from '../../support/random.ts'
import { realClock } from '../../support/real-time.ts'

const MARKER = Buffer.from('{"state":"clean"}')
const NO_SPACE = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
const IO_ERROR = Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' })

const keysOf = (node: MemoryNode) =>
  node.storage
    .page(0, 10_000)
    .entries.map(({ key }) => String(key))
    .filter((key) => !key.startsWith('__rondo'))
    .sort()
const valueOf = (node: MemoryNode, key: string) =>
  node.storage.get(Buffer.from(key))?.subarray(31).toString() ?? null
const namesOf = (disk: CrashDisk) => disk.names().filter((name) => name !== 'extent')
const kindsOf = (events: readonly RondoEvent[]) => events.map(({ kind }) => kind)
const failureOf = (result: StoreResult) => (result.kind === 'failed' ? result.failure : null)

async function written(keys: number, disk = new CrashDisk()): Promise<{ disk: CrashDisk } & DiskNode> {
  const opened = await openDiskNode(disk)
  await openData(opened.node, MARKER)
  for (let i = 0; i < keys; i++) {
    expect((await store(opened.node, `k${i}`, record(i + 1, `value ${i}`))).kind).to.equal('applied')
  }
  return { disk, ...opened }
}

describe('the disk of a memory node', () => {
  describe('after a restart', () => {
    it('has values, lives, hints, notes, the register, the marker and the count of evictions', async () => {
      const { disk, node } = await written(3)
      await store(node, 'ends', record(9, 'soon'), 100_000)
      await hint(node, 'other', 'k1', version({ ms: 7 }))
      await hint(node, 'other', 'k2', version({ ms: 7 }))
      await node.dropHint('other', Buffer.from('k2'), version({ ms: 7 }))
      await node.prepareRegister(version({ ms: 5 }))
      await node.checkIn(MARKER, 'coordinator', 'note', false)
      node.storage.delete(Buffer.from('k0'))
      await node.tryWrite()
      const { node: again, journal } = await openDiskNode(disk.afterKill())
      expect(journal.lostNothing).to.equal(true)
      expect(keysOf(again)).to.deep.equal(['ends', 'k1', 'k2'])
      expect(await again.lifeMs(Buffer.from('ends'))).to.be.within(90_000, 160_000)
      expect((await again.hints('other', '0', 10)).hints).to.deep.equal([
        { key: Buffer.from('k1'), version: version({ ms: 7 }) },
      ])
      expect((await again.prepareRegister(version({ ms: 4 }))).ok).to.equal(false)
      expect(await again.checkIn(MARKER, 'x', '', true)).to.have.lengthOf(2)
      expect((await again.probe()).durable).to.equal(true)
    })

    it('lets values end that ended meanwhile', async () => {
      const { disk, node } = await written(1)
      await store(node, 'ends', record(9, 'soon'), 5000)
      const later = { ...realClock, wallMs: () => Date.now() + 3_600_000 }
      const { node: again } = await openDiskNode(disk.afterKill(), {}, {}, later)
      expect(keysOf(again)).to.deep.equal(['k0'])
    })

    it('keeps what it evicted away, and remembers that it has evicted', async () => {
      const disk = new CrashDisk()
      const limits = { maxEntries: 5 }
      const { node } = await openDiskNode(disk, {}, limits)
      await openData(node, MARKER)
      for (let i = 0; i < 8; i++) await store(node, `k${i}`, record(i + 1, 'v'))
      await get(node, 'k3')
      await store(node, 'k8', record(9, 'v'))
      const { node: again, journal } = await openDiskNode(disk.afterKill(), {}, limits)
      expect(keysOf(again)).to.deep.equal(['k3', 'k5', 'k6', 'k7', 'k8'])
      expect((await again.probe()).evictedKeys).to.equal(4)
      await journal.snapshot()
      await again.close()
      const { node: third } = await openDiskNode(disk.afterKill(), {}, limits)
      expect((await third.probe()).evictedKeys).to.equal(4)
    })

    it('evicts what does not fit any more, when its limit was lowered', async () => {
      const { disk, node } = await written(8)
      await node.close()
      const { node: again } = await openDiskNode(disk.afterKill(), {}, { maxEntries: 3 })
      expect(keysOf(again)).to.deep.equal(['k5', 'k6', 'k7'])
      expect((await again.probe()).evictedKeys).to.equal(5)
    })

    it('lost something unless it waited for the disk, or ended in order', async () => {
      const runs = async (fsync: 'always' | 'everysec' | 'no', inOrder: boolean) => {
        const disk = new CrashDisk()
        const { node } = await openDiskNode(disk, { fsync })
        await openData(node, MARKER)
        await store(node, 'k', record(1, 'v'))
        if (inOrder) await node.close()
        const { node: again, journal } = await openDiskNode(disk.afterKill(), { fsync })
        expect(valueOf(again, 'k')).to.equal('v')
        return journal.lostNothing
      }
      expect(await runs('always', false)).to.equal(true)
      expect(await runs('everysec', true)).to.equal(true)
      expect(await runs('no', true)).to.equal(true)
      expect(await runs('everysec', false)).to.equal(false)
      expect(await runs('no', false)).to.equal(false)
    })

    it('still says that it lost something after another crash, until its marker tells', async () => {
      const disk = new CrashDisk()
      const { node } = await openDiskNode(disk, { fsync: 'everysec' })
      await openData(node, MARKER)
      await store(node, 'k', record(1, 'v'))
      let next = disk.afterKill()
      const second = await openDiskNode(next, { fsync: 'always' })
      expect(second.journal.lostNothing).to.equal(false)
      next = next.afterKill()
      const third = await openDiskNode(next, { fsync: 'always' })
      expect(third.journal.lostNothing).to.equal(false)
      await third.journal.snapshot()
      next = next.afterKill()
      const fourth = await openDiskNode(next, { fsync: 'always' })
      expect(fourth.journal.lostNothing).to.equal(false)
      await fourth.node.swapMarker(MARKER, Buffer.from('{"state":"filling"}'))
      next = next.afterKill()
      expect((await openDiskNode(next, { fsync: 'always' })).journal.lostNothing).to.equal(true)
    })
  })

  describe('an end that was not written completely', () => {
    it('is cut off at every byte, and the rest is whole and goes on', async () => {
      const { disk, node } = await written(3)
      const before = disk.content('log-000001').length
      await store(node, 'last', record(9, 'torn'))
      const { length } = disk.content('log-000001')
      for (let cut = before; cut < length; cut++) {
        const left = disk.afterKill()
        left.change('log-000001', (bytes) => bytes.subarray(0, cut))
        const { node: again, events, journal } = await openDiskNode(left)
        expect(keysOf(again)).to.deep.equal(['k0', 'k1', 'k2'])
        expect(journal.lostNothing, `cut at ${cut}`).to.equal(true)
        if (cut > before) expect(events[0]).to.include({ kind: 'disk-torn', at: before, bytes: cut - before })
        else expect(kindsOf(events)).to.deep.equal(['disk-loaded'])
        await openData(again)
        await store(again, 'next', record(10, 'v'))
        expect(keysOf((await openDiskNode(left.afterKill())).node)).to.deep.equal(['k0', 'k1', 'k2', 'next'])
      }
    })

    it('may be zeros, as file systems leave them', async () => {
      const { disk } = await written(3)
      disk.change('log-000001', (bytes) => Buffer.concat([bytes, Buffer.alloc(300_000)]))
      const { node, journal, events } = await openDiskNode(disk.afterKill())
      expect(keysOf(node)).to.deep.equal(['k0', 'k1', 'k2'])
      expect(journal.lostNothing).to.equal(true)
      expect(kindsOf(events)).to.include('disk-torn')
    })

    it('is damage where the log is known to have been longer', async () => {
      const { disk, timers } = await written(3)
      timers.fire()
      await new Promise((next) => setImmediate(next))
      const left = disk.afterKill()
      left.change('log-000001', (bytes) => bytes.subarray(0, bytes.length - 40))
      const { journal, events } = await openDiskNode(left)
      expect(journal.lostNothing).to.equal(false)
      expect(kindsOf(events)).to.include('disk-damaged')
    })
  })

  describe('a damaged file', () => {
    it('is noticed whichever bit is wrong: the node does not count as clean, and goes on', async () => {
      const { disk } = await written(4)
      const { length } = disk.content('log-000001')
      for (let at = 0; at < length; at += at < 64 ? 1 : 11) {
        const left = disk.afterKill()
        left.change('log-000001', (bytes) => ((bytes[at]! ^= 1 << (at % 8)), bytes))
        if (at === 9) {
          await rejected(openDiskNode(left)) // the format
          continue
        }
        if (at > 9 && at < 16) continue // not used
        const { node, journal, events } = await openDiskNode(left)
        expect(journal.lostNothing, `byte ${at}`).to.equal(false)
        const damage = events.find(({ kind }) => kind === 'disk-damaged')
        expect(damage, `byte ${at}`).to.include({ file: 'log-000001', path: '/crash-disk' })
        for (const key of keysOf(node)) expect(valueOf(node, key)).to.equal(`value ${key.slice(1)}`)
        expect(namesOf(left)).to.include('log-000001.damaged')
        await openData(node)
        expect((await store(node, 'next', record(10, 'v'))).kind).to.equal('applied')
        const { node: again } = await openDiskNode(left.afterKill())
        expect(keysOf(again)).to.include('next')
      }
    })

    it('may be a snapshot, in any place and cut off anywhere; the log after it counts', async () => {
      const { disk, journal, node } = await written(4)
      await journal.snapshot()
      await store(node, 'later', record(9, 'v'))
      const { length } = disk.content('snapshot-000002')
      const random = seeded(1)
      for (let i = 0; i < 60; i++) {
        const left = disk.afterKill()
        const at = 16 + random.below(length - 16)
        const cut = i % 2 === 0
        left.change('snapshot-000002', (bytes) =>
          cut ? bytes.subarray(0, at) : ((bytes[at]! ^= 0x10), bytes),
        )
        const { journal: again, node: found, events } = await openDiskNode(left)
        expect(again.lostNothing, `at ${at}`).to.equal(false)
        expect(kindsOf(events)).to.include('disk-damaged')
        expect(keysOf(found)).to.include('later')
      }
    })

    it('may be missing', async () => {
      for (const name of ['snapshot-000002', 'log-000002']) {
        const { disk, journal, node } = await written(4)
        await journal.snapshot()
        await store(node, 'later', record(9, 'v'))
        const left = disk.afterKill()
        await left.remove(name)
        const { journal: again, events } = await openDiskNode(left)
        expect(again.lostNothing).to.equal(false)
        expect(events[0]).to.include({ kind: 'disk-damaged', file: name, why: 'it is missing' })
      }
    })

    it('is kept for people until there is another one', async () => {
      const { disk } = await written(2)
      disk.change('log-000001', (bytes) => ((bytes[bytes.length - 3]! ^= 1), bytes))
      const left = disk.afterKill()
      await openDiskNode(left)
      expect(namesOf(left)).to.deep.equal(['log-000001.damaged', 'log-000002', 'snapshot-000002'])
      left.change('snapshot-000002', (bytes) => ((bytes[bytes.length - 3]! ^= 1), bytes))
      const next = left.afterKill()
      await openDiskNode(next)
      expect(namesOf(next)).to.deep.equal(['log-000003', 'snapshot-000002.damaged', 'snapshot-000003'])
    })
  })

  it('refuses the files of a newer release, and those of another node', async () => {
    const { disk } = await written(1)
    const newer = disk.afterKill()
    newer.change('log-000001', (bytes) => ((bytes[9] = 2), bytes))
    expect((await rejected(openDiskNode(newer))).message).to.match(
      /log-000001 was written by a newer Rondo \(format 2; this one reads up to 1\)/,
    )
    expect((await rejected(openDiskNode(disk.afterKill(), { node: 'n' }))).message).to.match(
      /is the folder of node n, and its files are those of m/,
    )
  })

  describe('a full disk', () => {
    it('lets the node be read; it acknowledges nothing that is not written, and goes on when there is room', async () => {
      const { disk, node, events } = await written(3)
      const unwritable: string[] = []
      node.listener = { ...node.listener!, onUnwritable: (_node, reason) => void unwritable.push(reason) }
      disk.fault = (operation) => (operation === 'write' ? { error: NO_SPACE, part: 20 } : null)
      const [set, over] = await Promise.all([
        store(node, 'new', record(8, 'new')),
        store(node, 'k0', record(9, 'over')),
      ])
      for (const result of [set, over]) {
        expect(failureOf(result)).to.include({ kind: 'refused', reason: 'misconf' })
        expect(failureOf(result)!.message).to.match(/ENOSPC: no space left/)
      }
      // Nobody sees what was not kept.
      expect(keysOf(node)).to.deep.equal(['k0', 'k1', 'k2'])
      expect(await get(node, 'k0')).to.have.property('kind', 'found')
      expect(valueOf(node, 'k0')).to.equal('value 0')
      expect(failureOf(await store(node, 'again', record(9, 'v')))).to.include({ kind: 'refused' })
      expect(unwritable).to.deep.equal(['misconf'])
      expect(await error(node.tryWrite())).to.match(/ENOSPC/)
      expect(await error(node.swapMarker(MARKER, Buffer.from('x')))).to.match(/ENOSPC/)
      expect(kindsOf(events)).to.deep.equal(['disk-loaded', 'disk-failed'])
      disk.fault = null
      await node.tryWrite()
      expect(kindsOf(events)).to.deep.equal(['disk-loaded', 'disk-failed', 'disk-recovered'])
      expect((await store(node, 'room', record(9, 'v'))).kind).to.equal('applied')
      const { node: again, journal } = await openDiskNode(disk.afterKill())
      expect(keysOf(again)).to.deep.equal(['k0', 'k1', 'k2', 'room'])
      expect(journal.lostNothing).to.equal(true)
    })

    it('does not make a removal undone: it is written when there is room', async () => {
      const { disk, node } = await written(3)
      disk.fault = (operation) => (operation === 'write' ? { error: NO_SPACE } : null)
      node.storage.delete(Buffer.from('k1'))
      expect((await store(node, 'new', record(8, 'new'))).kind).to.equal('failed')
      disk.fault = null
      await node.tryWrite()
      expect(keysOf((await openDiskNode(disk.afterKill())).node)).to.deep.equal(['k0', 'k2'])
    })

    it('during a snapshot loses nothing: the log goes on', async () => {
      const { disk, node, journal, events } = await written(3)
      disk.fault = (operation, name) =>
        operation === 'write' && name.startsWith('snapshot') ? { error: NO_SPACE, part: 10 } : null
      expect(await error(journal.snapshot())).to.match(/ENOSPC/)
      expect((await store(node, 'new', record(8, 'new'))).kind).to.equal('applied')
      expect(namesOf(disk)).to.deep.equal(['log-000001', 'log-000002'])
      const { node: again, journal: next } = await openDiskNode(disk.afterKill())
      expect(keysOf(again)).to.deep.equal(['k0', 'k1', 'k2', 'new'])
      expect(next.lostNothing).to.equal(true)
      disk.fault = null
      await journal.snapshot()
      expect(namesOf(disk)).to.deep.equal(['log-000003', 'snapshot-000003'])
      expect(kindsOf(events)).to.include('disk-snapshot')
    })

    it('at the start leaves the node unwritable, not the process', async () => {
      const { disk } = await written(3)
      const left = disk.afterKill()
      left.fault = (operation) => (operation === 'write' ? { error: NO_SPACE } : null)
      const { node } = await openDiskNode(left)
      expect(keysOf(node)).to.deep.equal(['k0', 'k1', 'k2'])
      expect(await error(node.swapMarker(MARKER, Buffer.from('x')))).to.match(/ENOSPC/)
      left.fault = null
      expect(await node.swapMarker(MARKER, Buffer.from('x'))).to.equal(true)
    })
  })

  it('writes everything anew when a sync has failed, because the system may have dropped what it could not write', async () => {
    for (const fsync of ['always', 'everysec'] as const) {
      const disk = new CrashDisk()
      const { node, events, timers } = await openDiskNode(disk, { fsync })
      await openData(node, MARKER)
      await store(node, 'k0', record(1, 'before'))
      disk.fault = (operation) => (operation === 'sync' ? { error: IO_ERROR } : null)
      const result = await store(node, 'k1', record(2, 'lost'))
      if (fsync === 'always') expect(failureOf(result)).to.include({ kind: 'unknown', reason: 'misconf' })
      else {
        timers.fire()
        for (let i = 0; i < 3; i++) await new Promise((next) => setImmediate(next))
      }
      expect(failureOf(await store(node, 'k2', record(2, 'v')))).to.include({ kind: 'refused' })
      disk.fault = null
      await node.tryWrite()
      expect(namesOf(disk).slice(-1)).to.deep.equal(['snapshot-000002'])
      expect((await store(node, 'k3', record(3, 'v'))).kind).to.equal('applied')
      expect(kindsOf(events)).to.include('disk-recovered')
      const kept = fsync === 'always' ? ['k0', 'k3'] : ['k0', 'k1', 'k3']
      expect(keysOf((await openDiskNode(disk.afterKill())).node)).to.include.members(kept)
    }
  })

  it('takes no writes either when the sync before a snapshot gets its name has failed', async () => {
    const disk = new CrashDisk()
    const { node, journal } = await openDiskNode(disk, { fsync: 'no' })
    await openData(node, MARKER)
    await store(node, 'k0', record(1, 'v'))
    let sets = 0
    disk.fault = (operation, name) => {
      if (operation === 'create' && name.endsWith('.new') && sets++ === 0)
        void store(node, 'k1', record(2, 'v'))
      return operation === 'sync' && name === 'log-000002' && sets > 0 ? { error: IO_ERROR } : null
    }
    disk.pause = () => new Promise((next) => setImmediate(next))
    expect(await error(journal.snapshot())).to.match(/a sync failed|EIO|could not be written/)
    expect(failureOf(await store(node, 'k2', record(2, 'v')))).to.include({ reason: 'misconf' })
    disk.fault = null
    await node.tryWrite()
    expect(keysOf((await openDiskNode(disk.afterKill())).node)).to.include('k0')
  })

  describe('the log', () => {
    it('is replaced by a snapshot when it is twice as large, while the node goes on', async () => {
      const disk = new CrashDisk()
      const { node, events } = await openDiskNode(disk, { smallestLogBytes: 20_000 })
      await openData(node, MARKER)
      for (let i = 0; i < 400; i++) await store(node, `k${i % 50}`, record(i + 1, Buffer.alloc(200, i)))
      for (let i = 0; i < 200; i++) await new Promise((next) => setImmediate(next))
      expect(kindsOf(events).filter((kind) => kind === 'disk-snapshot')).to.have.length.above(2)
      const bytes = namesOf(disk).reduce((sum, name) => sum + disk.content(name).length, 0)
      expect(bytes).to.be.below(100_000)
      const { node: again, journal } = await openDiskNode(disk.afterKill())
      expect(keysOf(again)).to.have.lengthOf(50)
      expect(journal.lostNothing).to.equal(true)
    })

    it('is synced once for many writes that come together', async () => {
      const { disk, node } = await written(0)
      const before = disk.syncs
      await Promise.all(Array.from({ length: 100 }, (_, i) => store(node, `k${i}`, record(1, 'v'))))
      expect(disk.syncs - before).to.equal(1)
    })

    it('delays answers to reads as well, so that nobody sees what a crash takes back', async () => {
      const { disk, node } = await written(1)
      let go = () => undefined as void
      disk.pause = () => new Promise((next) => (go = next))
      const order: string[] = []
      const set = store(node, 'k0', record(9, 'new')).then(() => order.push('stored'))
      await new Promise((next) => setImmediate(next))
      const read = get(node, 'k0').then(() => order.push('read'))
      for (let i = 0; i < 5; i++) await new Promise((next) => setImmediate(next))
      expect(order).to.deep.equal([])
      disk.pause = () => Promise.resolve()
      go()
      await Promise.all([set, read])
      expect(order).to.deep.equal(['stored', 'read'])
    })

    it('ends calls that wait for it when the node is shut', async () => {
      const { disk, node } = await written(1)
      disk.pause = () => new Promise(() => undefined)
      const set = store(node, 'k0', record(9, 'new'))
      await new Promise((next) => setImmediate(next))
      node.shut('for a test')
      expect(failureOf(await set)).to.include({ kind: 'unknown', reason: 'closed' })
    })
  })

  it('gives a snapshot its name only when the log has all that the snapshot may show', async () => {
    const { disk, node, journal } = await written(1)
    let isHeld = false
    const sets: Promise<unknown>[] = []
    let release = () => undefined as void
    const held = new Promise<void>((next) => (release = next))
    disk.pause = (name) => {
      if (name === 'snapshot-000002.new' && sets.length === 0) {
        isHeld = true
        sets.push(store(node, 'k0', record(9, 'new')))
      }
      return isHeld && name === 'log-000002' ? held : new Promise((next) => setImmediate(next))
    }
    const taken = journal.snapshot()
    for (let i = 0; i < 30; i++) await new Promise((next) => setImmediate(next))
    expect(namesOf(disk)).to.include('snapshot-000002.new').and.not.include('snapshot-000002')
    release()
    await taken
    await Promise.all(sets)
    expect(namesOf(disk)).to.deep.equal(['log-000002', 'snapshot-000002'])
  })

  it('takes a snapshot when it is told to, at an end in order, and every so often if anything has changed', async () => {
    let nowMs = 0
    const clock = { ...realClock, monotonicMs: () => nowMs }
    const disk = new CrashDisk()
    const { node, events, timers } = await openDiskNode(disk, { snapshotIntervalMs: 60_000 }, {}, clock)
    await openData(node, MARKER)
    await store(node, 'k', record(1, 'v'))
    const snapshots = async () => {
      timers.fire()
      for (let i = 0; i < 20; i++) await new Promise((next) => setImmediate(next))
      return kindsOf(events).filter((kind) => kind === 'disk-snapshot').length
    }
    expect(await snapshots()).to.equal(0)
    nowMs = 60_000
    expect(await snapshots()).to.equal(1)
    nowMs = 120_000
    expect(await snapshots()).to.equal(1) // nothing has changed
    expect(await node.snapshot()).to.equal(true)
    expect(await snapshots()).to.equal(2)
    await store(node, 'large', record(2, Buffer.alloc(2_000_000)))
    await node.close()
    expect(await snapshots()).to.equal(3)
    const { node: again, journal } = await openDiskNode(disk.afterKill())
    expect(keysOf(again)).to.deep.equal(['k', 'large'])
    expect(journal.lostNothing).to.equal(true)
    expect(again.storage.get(MARKER_KEY)).to.deep.equal(MARKER)
  })
})

async function rejected(opening: Promise<unknown>): Promise<DiskError> {
  const found = await opening.then(
    () => null,
    (failure: unknown) => failure,
  )
  expect(found).to.be.instanceOf(DiskError)
  return found as DiskError
}

function error(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'no error',
    (failure: Error) => failure.message,
  )
}
