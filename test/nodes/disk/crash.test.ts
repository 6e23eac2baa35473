/**
 * Random changes on a memory node with a disk, and crashes at any moment: what the node holds afterwards is compared with
 * what it held when each call was answered.
 */
import { expect } from 'chai'
import { isInternalName, MARKER_KEY, TOPOLOGY_KEY } from '../../../src/core/keys.ts'
import { KIND_TOMBSTONE } from '../../../src/core/codec.ts'
import { FAR_END_MS } from '../../../src/core/lifetime.ts'
import { Journal, type Fsync } from '../../../src/nodes/memory/disk/journal.ts'
import { MemoryNode } from '../../../src/nodes/memory/memory-node.ts'
import { CrashDisk } from '../../support/crash-disk.ts'
import { hint, prepare, record, store, storeAll, version } from '../../support/node-calls.ts'
import { seeded, seeds, type Random } from '../../support/random.ts'
import { realClock, realTimers } from '../../support/real-time.ts'

const GRACE_MS = 86_400_000
const KEYS = Array.from({ length: 40 }, (_, i) => `k${i}`)
const PAIR = ['{p}1', '{p}2'] as const
const TARGET = 'other'
const REGISTER = String(TOPOLOGY_KEY)
let runs = 0

/** What a key was, state by state; a later state is acknowledged if any of the same place or later is. */
class Story {
  readonly states: (string | null)[] = [null]
  acknowledged = 0
}

interface Life {
  readonly node: MemoryNode
  /** It has crashed: what is answered from now on, nobody hears. */
  isOver: boolean
  readonly journal: Journal
}

async function openOn(disk: CrashDisk, fsync: Fsync): Promise<Life> {
  const journal = new Journal({
    ...{ node: 'm', disk, fsync, snapshotIntervalMs: 0, smallestLogBytes: 4000 },
    clock: realClock,
    timers: { ...realTimers, setTimeout: () => ({}), clearTimeout: () => undefined },
    emit: () => undefined,
  })
  const node = new MemoryNode({
    ...{ id: 'm', maxBytes: 1 << 24, graceMs: GRACE_MS, journal, runId: `run-${++runs}` },
    clock: realClock,
    timers: realTimers,
  })
  await node.readFiles()
  return { node, journal, isOver: false }
}

class Model {
  readonly stories = new Map<string, Story>()
  /** The last change was made on the control path. */
  wasControl = false
  private lastMs = 1
  private readonly random: Random

  constructor(random: Random) {
    this.random = random
  }

  /** Starts a random change. Resolves when it was answered. */
  change(life: Life): Promise<unknown> {
    const { node, journal } = life
    const { random } = this
    const which = random.below(10)
    this.wasControl = which === 3 || which === 6
    const key = random.pick(KEYS)
    const at = version({ ms: ++this.lastMs })
    const value = Buffer.alloc(random.below(random.chance(0.1) ? 9000 : 200), this.lastMs)
    switch (which) {
      case 0:
        return this.acknowledged(
          life,
          [key],
          store(node, key, record(this.lastMs, '', { kind: KIND_TOMBSTONE }), 1e9),
        )
      case 1:
        return this.acknowledged(life, [key], prepare(node, key, at))
      case 2:
        return this.acknowledged(life, [`hint ${key}`], hint(node, TARGET, key, at))
      case 3:
        return this.acknowledged(life, [String(MARKER_KEY)], this.swapMarker(node))
      case 4: {
        const held = (one: string) =>
          node.storage.get(Buffer.from(one))?.subarray(5, 17) ?? version({ ms: 0 })
        const writes = PAIR.map((one) => ({
          ...{ key: Buffer.from(one), record: record(this.lastMs, value), lifeMs: FAR_END_MS },
          onlyIf: Buffer.from(held(one)),
        }))
        return this.acknowledged(life, PAIR, storeAll(node, writes))
      }
      case 5:
        return random.chance(0.2) ? journal.snapshot().catch(() => undefined) : Promise.resolve()
      case 6:
        return this.acknowledged(life, [REGISTER], node.prepareRegister(at))
      default:
        return this.acknowledged(life, [key], store(node, key, record(this.lastMs, value)))
    }
  }

  found(life: Life, marker: Buffer): Promise<void> {
    return this.acknowledged(life, [String(MARKER_KEY)], life.node.swapMarker(null, marker))
  }

  private async swapMarker(node: MemoryNode): Promise<void> {
    const before = node.storage.get(MARKER_KEY)
    await node.swapMarker(before, Buffer.from(`{"n":${this.lastMs}}`))
  }

  /** The call is answered: what its keys are now, or were at an earlier answer, must survive. */
  private async acknowledged(life: Life, names: readonly string[], call: Promise<unknown>): Promise<void> {
    // The change happens at the end of this turn, and is answered later.
    const changed = new Promise<void>((next) => setImmediate(next)).then(() => {
      if (!life.isOver) for (const name of names) this.note(name, stateOf(life.node, name))
      return names.map((name) => this.story(name).states.length - 1)
    })
    await call
    const places = await changed
    if (life.isOver) return
    names.forEach((name, i) => {
      const story = this.story(name)
      story.acknowledged = Math.max(story.acknowledged, places[i]!)
    })
  }

  private story(name: string): Story {
    const story = this.stories.get(name) ?? new Story()
    this.stories.set(name, story)
    return story
  }

  private note(name: string, state: string | null): void {
    const { states } = this.story(name)
    if (states.at(-1) !== state) states.push(state)
  }

  /** Everything acknowledged is there, and nothing that never was. From now on, what is there is the past. */
  check(node: MemoryNode): void {
    for (const [name, story] of this.stories) {
      const found = stateOf(node, name)
      const place = story.states.lastIndexOf(found)
      expect(place, `${name} was never what it is now`).to.not.equal(-1)
      expect(place, `${name} is older than what was acknowledged`).to.be.at.least(story.acknowledged)
      story.states.length = place + 1
      story.acknowledged = place
    }
    const known = node.storage.page(0, 1000).entries.map(({ key }) => String(key))
    for (const name of known) if (!isInternalName(name)) expect(this.stories.has(name), name).to.equal(true)
    const pair = PAIR.map((name) => node.storage.get(Buffer.from(name))?.subarray(5, 17).toString('hex'))
    expect(pair[0], 'half of what was stored together').to.equal(pair[1])
  }
}

function stateOf(node: MemoryNode, name: string): string | null {
  if (name.startsWith('hint ')) {
    const { hints } = node.storage.hintsFor(TARGET).page(0, 1000)
    return hints.find(({ key }) => String(key) === name.slice(5))?.version.toString('hex') ?? null
  }
  return node.storage.get(Buffer.from(name))?.toString('latin1') ?? null
}

async function live(life: Life, model: Model, random: Random): Promise<void> {
  const marker = life.node.storage.get(MARKER_KEY) ?? Buffer.from('{"n":0}')
  if (!life.node.storage.get(MARKER_KEY)) await model.found(life, marker)
  const { runId } = await life.node.probe()
  life.node.listener = {
    onBroken: () => undefined,
    onOtherMarker: (_node, found) => ({ marker: found ?? marker, runId, clean: true, epoch: 1 }),
    onUnwritable: () => undefined,
  }
  await life.node.open({ marker, runId, clean: true, epoch: 1 })
  const calls: Promise<unknown>[] = []
  for (let i = random.below(60); i > 0; i--) {
    calls.push(model.change(life).catch(() => undefined))
    // Control calls of one turn are written one by one, and the model looks once in a turn.
    if (model.wasControl || random.chance(0.3)) await new Promise((next) => setImmediate(next))
    if (random.chance(0.1)) await calls.at(-1)
  }
}

describe('a memory node with a disk, after crashes at any moment', function () {
  this.timeout(30_000)

  for (const fsync of ['always', 'everysec'] as const) {
    const crash = fsync === 'always' ? 'a loss of power' : 'kill -9'
    it(`has everything that was acknowledged (${fsync}, ${crash})`, async () => {
      for (const seed of seeds(8)) {
        const random = seeded(seed)
        const model = new Model(random)
        let disk = new CrashDisk()
        try {
          for (let lives = 0; lives < 5; lives++) {
            disk.pause = () =>
              random.chance(0.5) ? new Promise((next) => setImmediate(next)) : Promise.resolve()
            disk.writesNow = random.chance(0.5)
            const life = await openOn(disk, fsync)
            model.check(life.node)
            if (lives > 0) expect(life.journal.lostNothing).to.equal(fsync === 'always')
            await live(life, model, random)
            const left = fsync === 'always' ? disk.afterPowerLoss(random) : disk.afterKill()
            life.isOver = true
            // Whoever is still there is a ghost: it writes to a disk that nobody sees.
            disk = left
          }
        } catch (error) {
          throw new Error(`seed ${seed}`, { cause: error })
        }
      }
    })
  }
})
