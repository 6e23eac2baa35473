/** DATA_DIR: who may use it, and what is checked before. */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import type { RondoEvent } from '../../../src/core/events.ts'
import { DataFolder } from '../../../src/nodes/memory/disk/data-folder.ts'
import { FolderOnDisk } from '../../../src/nodes/memory/disk/disk.ts'
import { DiskError } from '../../../src/nodes/memory/disk/load.ts'
import { openData, openDiskNode } from '../../support/disk-nodes.ts'
import { record, store } from '../../support/node-calls.ts'
import { realClock, realTimers } from '../../support/real-time.ts'

const NODES = ['memory-1', 'memory-2']

describe('DATA_DIR', () => {
  let parent: string
  let path: string
  let events: RondoEvent[]
  const opened: DataFolder[] = []
  const children: ChildProcess[] = []

  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'rondo-data-'))
    path = join(parent, 'a', 'data')
    events = []
  })

  afterEach(async () => {
    for (const folder of opened.splice(0)) await folder.close()
    for (const child of children.splice(0)) child.kill('SIGKILL')
    rmSync(parent, { recursive: true })
  })

  let ids = 0
  async function open(nodes = NODES, more: { watchMs?: number; onLost?: (why: string) => void } = {}) {
    const folder = await DataFolder.open(path, nodes, {
      ...{
        clock: realClock,
        timers: realTimers,
        emit: (event) => void events.push(event),
        randomId: () => `id${++ids}`,
      },
      ...{ onLost: () => undefined, watchMs: 100 },
      ...more,
    })
    opened.push(folder)
    return folder
  }

  const refused = async (opening: Promise<unknown>) => {
    const error = await opening.then(
      () => null,
      (failure: unknown) => failure,
    )
    expect(error).to.be.instanceOf(DiskError)
    return (error as DiskError).message
  }
  const lockOf = () => JSON.parse(readFileSync(join(path, 'lock'), 'utf8')) as Record<string, unknown>
  const writeLock = (owner: object) => writeFileSync(join(path, 'lock'), JSON.stringify(owner))
  const modeOf = (name: string) => (statSync(join(path, name)).mode & 0o777).toString(8)

  /** A process that has ended, as far as anybody can tell by its number. */
  async function endedProcess(): Promise<number> {
    const child = spawn(process.execPath, ['-e', ''])
    await new Promise((next) => child.once('exit', next))
    return child.pid!
  }

  it('is made with all that it needs, for this user alone', async () => {
    await open()
    expect([modeOf('.'), modeOf('memory-1'), modeOf('memory-2'), modeOf('lock')]).to.deep.equal([
      '700',
      '700',
      '700',
      '600',
    ])
    const { node, journal } = await openDiskNode(new FolderOnDisk(join(path, 'memory-1')))
    await openData(node)
    await store(node, 'k', record(1, 'v'))
    await journal.snapshot()
    expect([modeOf('memory-1/log-000002'), modeOf('memory-1/snapshot-000002')]).to.deep.equal(['600', '600'])
    await node.close()
  })

  it('is refused with a sentence if it is a file, or cannot be written', async function () {
    mkdirSync(join(parent, 'a'))
    writeFileSync(path, '')
    expect(await refused(open())).to.match(/DATA_DIR .*data cannot be used: EEXIST.* It has to be a folder/)
    rmSync(path)
    mkdirSync(path)
    chmodSync(path, 0o500)
    if (process.getuid?.() !== 0)
      expect(await refused(open())).to.match(
        /DATA_DIR .*data cannot be used: EACCES.*this user may create files/,
      )
    path = '/proc/rondo-data'
    expect(await refused(open())).to.match(/DATA_DIR \/proc\/rondo-data cannot be used: /)
  })

  it('is refused for another number of nodes than it has', async () => {
    await (await open()).close()
    expect(await refused(open(['memory-1']))).to.match(
      /holds the data of 2 memory nodes, and MEMORY_NODES is 1: .* Set MEMORY_NODES=2/,
    )
    await open() // and it is not locked any more
  })

  it('is refused if the folder of an earlier node is gone, however many nodes are wanted', async () => {
    await (await open(['memory-1', 'memory-2', 'memory-3'])).close()
    rmSync(join(path, 'memory-2'), { recursive: true })
    for (const nodes of [
      ['memory-1', 'memory-2'],
      ['memory-1', 'memory-2', 'memory-3'],
    ])
      expect(await refused(open(nodes))).to.match(/has no folder memory-2, .* make an empty one/)
    mkdirSync(join(path, 'memory-2'))
    await open(['memory-1', 'memory-2', 'memory-3'])
  })

  it('is for one process at a time', async () => {
    await open()
    expect(await refused(open())).to.match(
      new RegExp(`DATA_DIR .* is in use by process ${process.pid} on ${hostname()}: two would destroy`),
    )
    await opened.splice(0)[0]!.close()
    await open()
  })

  it('is taken over from a process that has ended, and from one whose number another process has now', async () => {
    await open()
    const own = lockOf()
    await opened.splice(0)[0]!.close()
    writeLock({ ...own, pid: await endedProcess() })
    await open()
    expect(events).to.have.nested.property('0.kind', 'disk-lock-stale')
    await opened.splice(0)[0]!.close()
    writeLock({ ...own, started: '1' })
    await open()
    expect(lockOf()).to.include({ pid: process.pid, started: own.started })
  })

  it('is taken over from another machine only when that does not touch its lock any more', async () => {
    await open()
    const own = lockOf()
    await opened.splice(0)[0]!.close()
    writeLock({ ...own, machine: 'another', host: 'far-away' })
    const touching = setInterval(() => utimesSync(join(path, 'lock'), new Date(), new Date()), 20)
    expect(await refused(open())).to.match(/is in use by process \d+ on far-away/)
    clearInterval(touching)
    await open()
    expect(events).to.have.nested.property('0.kind', 'disk-lock-stale')
  })

  it('is taken over where the lock was never written to its end', async () => {
    mkdirSync(path, { recursive: true })
    writeFileSync(join(path, 'lock'), '{"pid":')
    await open()
  })

  it('is not written any more by a process that was away so long that another one took it over', async () => {
    let touch = () => undefined as void
    const timers = { ...realTimers, setTimeout: (run: () => void) => ((touch = run), {}) }
    const lost: string[] = []
    const folder = await DataFolder.open(path, NODES, {
      ...{
        clock: realClock,
        timers,
        emit: () => undefined,
        randomId: () => 'first',
        onLost: (why) => void lost.push(why),
      },
    })
    writeLock({ ...lockOf(), id: 'other', pid: 4711, host: 'far-away' })
    touch()
    for (let i = 0; i < 50 && lost.length === 0; i++) await new Promise((next) => setTimeout(next, 10))
    expect(lost).to.deep.equal(['its lock was taken over by process 4711 on far-away'])
    await folder.close()
    expect(lockOf()).to.include({ id: 'other' }) // it is theirs
    const { node, journal } = await openDiskNode(new FolderOnDisk(join(path, 'memory-1')))
    await openData(node)
    journal.forbid(lost[0]!)
    const result = await store(node, 'k', record(1, 'v'))
    expect(result).to.have.nested.property('failure.kind', 'refused')
    await node.tryWrite().then(
      () => expect.fail('it wrote'),
      (error: Error) => expect(error.message).to.match(/is not ours any more: its lock was taken over/),
    )
    await node.close()
  })
})
