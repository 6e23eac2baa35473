/** The scale of a cluster as a command: what grows with nodes, coordinators and keys, measured on a virtual clock. */
import { optionsOf, wholeNumber } from '../../support/command-line.ts'
import { changeOf } from './change.ts'
import { Fleet, type Idle, type Known } from './fleet.ts'
import { imbalance, movedBy, ringCosts } from './rings.ts'
import { tableOf } from './table.ts'

const USAGE = `npm run simulate:scale -- [options]

Measures what grows with the size of a cluster, with the program's own code on a virtual clock, and prints tables:
messages and bytes of a cluster that does nothing, how fast a change becomes known, what the ring costs and how even it
is, and how long a change takes. docs/SCALING.md explains the figures.

  --sizes 10x3,100x10,300x10,1000x3   nodes x coordinators; 1000x100 needs about 5 GB (NODE_OPTIONS=--max-old-space-size)
  --rings 10,100,1000                  nodes of the rings
  --vnodes 100                         vnodes of the rings; the coordinators of --sizes have 8, as messages do not depend on it
  --keys 5000,20000,80000              keys of a cluster of 8 nodes that a node joins
  --seconds 3                          virtual seconds for which messages are counted
  --no-pings                           leaves out how a change becomes known without announcements
  --seed 1                             of the network's delays`

const values = optionsOf(USAGE, {
  sizes: { type: 'string', default: '10x3,100x10,300x10,1000x3' },
  rings: { type: 'string', default: '10,100,1000' },
  vnodes: { type: 'string', default: '100' },
  keys: { type: 'string', default: '5000,20000,80000' },
  seconds: { type: 'string', default: '3' },
  'no-pings': { type: 'boolean', default: false },
  seed: { type: 'string', default: '1' },
})

const FLEET_VNODES = 8
const CHANGED_NODES = 8
const BALANCED_VNODES = [50, 100, 200, 400]
const startedMs = performance.now()

const sizes = values.sizes.split(',').map((size) => {
  const [nodes, coordinators] = size.split('x')
  return {
    nodes: wholeNumber('sizes', nodes ?? '', 3),
    coordinators: wholeNumber('sizes', coordinators ?? '', 1),
  }
})
const rings = values.rings.split(',').map((nodes) => wholeNumber('rings', nodes, 3))
const vnodes = wholeNumber('vnodes', values.vnodes, 1)
const keys = values.keys.split(',').map((one) => wholeNumber('keys', one, 1))
const seconds = wholeNumber('seconds', values.seconds, 1)
const seed = wholeNumber('seed', values.seed)

const tables = [...(await fleets()), ringTable(), balanceTable(), await changeTable()]
console.log(`\n${tables.join('\n\n')}`)

function progress(what: string): void {
  const passed = ((performance.now() - startedMs) / 1000).toFixed(0)
  const megabytes = (process.memoryUsage().rss / 1e6).toFixed(0)
  console.log(`… ${passed} s, ${megabytes} MB: ${what}`)
}

async function fleets(): Promise<string[]> {
  const idle: string[][] = []
  const known: string[][] = []
  for (const { nodes, coordinators } of sizes) {
    const size = `${nodes} × ${coordinators}`
    const told = (what: string) => progress(`${size}: ${what}`)
    const fleet = new Fleet({ nodes, coordinators, vnodes: FLEET_VNODES, announces: true, seed })
    await fleet.found(told)
    idle.push([size, ...idleRow(await fleet.idle(seconds))])
    const announced = await fleet.change()
    told('a change is known')
    known.push([
      size,
      ...knownRow(announced),
      values['no-pings'] ? '–' : await knownByPings(nodes, coordinators),
    ])
  }
  return [
    tableOf(
      'A cluster that does nothing: at each node, a second (nodes × coordinators)',
      [
        'size',
        'round trips',
        'commands',
        'hint names KB',
        'topology KB',
        'keeps: topology',
        'notes',
        'other',
        'CPU ms',
      ],
      idle,
    ),
    tableOf(
      'A node leaves: ms until it is decided, then until all coordinators know',
      ['size', 'decided', 'known everywhere', 'commands at each node', 'known by pings alone'],
      known,
    ),
  ]
}

async function knownByPings(nodes: number, coordinators: number): Promise<string> {
  const fleet = new Fleet({ nodes, coordinators, vnodes: FLEET_VNODES, announces: false, seed })
  await fleet.found()
  const { everywhereMs } = await fleet.change()
  return everywhereMs.toFixed(0)
}

function idleRow(idle: Idle): string[] {
  const { callsPerSecond, commandsPerSecond, keptBytes, cpuMsPerSecond } = idle
  const calls = [...callsPerSecond.values()].reduce((sum, one) => sum + one, 0)
  const { topology, notes, other } = keptBytes
  return [
    calls.toFixed(0),
    commandsPerSecond.toFixed(0),
    (idle.askedBytesPerSecond / 1000).toFixed(1),
    (idle.topologyBytesPerSecond / 1000).toFixed(1),
    ...[topology, notes, other].map(String),
    cpuMsPerSecond.toFixed(1),
  ]
}

function knownRow({ decidedMs, everywhereMs, commandsPerNode }: Known): string[] {
  return [decidedMs.toFixed(1), everywhereMs.toFixed(1), commandsPerNode.toFixed(0)]
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`
}

function ringTable(): string {
  const rows = rings.map((nodes) => {
    progress(`ring of ${nodes} nodes`)
    const costs = ringCosts(nodes, vnodes)
    const times = [costs.ringMs, costs.placementMs, costs.jointMs].map((ms) => ms.toFixed(0))
    const [join, leave] = [movedBy('join', nodes, vnodes), movedBy('leave', nodes, vnodes)]
    return [
      String(nodes),
      ...times,
      ...[costs.topologyBytes, costs.jointTopologyBytes].map(String),
      ...[join, leave].flatMap(({ share, ideal }) => [percent(share), percent(ideal)]),
    ]
  })
  return tableOf(
    `Rings of ${vnodes} vnodes for each node, three copies: ms of CPU, bytes of the topology, share of all copies that moves`,
    ['nodes', 'ring', 'placement', 'joint', 'topology', 'in a change', 'join', 'ideal', 'leave', 'ideal'],
    rows,
  )
}

function balanceTable(): string {
  const rows = rings.flatMap((nodes) =>
    [[1], [1, 2, 4]].map((weights) => {
      progress(`balance of ${nodes} nodes of weight ${weights.join(', ')}`)
      const found = BALANCED_VNODES.map((one) => imbalance(nodes, one, weights).toFixed(2))
      return [String(nodes), weights.join(', '), ...found]
    }),
  )
  return tableOf(
    'Balance: the fullest node against the mean, for its weight (three copies), by vnodes',
    ['nodes', 'weights', ...BALANCED_VNODES.map(String)],
    rows,
  )
}

async function changeTable(): Promise<string> {
  const rows: string[][] = []
  for (const count of keys) {
    progress(`a node joins ${CHANGED_NODES} nodes of ${count} keys`)
    const change = await changeOf(CHANGED_NODES, count)
    rows.push([
      String(count),
      change.seconds.toFixed(2),
      change.cpuSeconds.toFixed(2),
      String(change.checked),
      String(change.moved),
    ])
  }
  return tableOf(
    `A node joins ${CHANGED_NODES}: time of the change by keys of 100 bytes`,
    ['keys', 'virtual s', 'CPU s', 'copies read', 'copies sent'],
    rows,
  )
}
