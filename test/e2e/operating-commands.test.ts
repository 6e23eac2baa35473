// docs/OPERATING.md shows commands that change the members, with their output: they answer as it says.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { MembersUnderTest } from '../support/members-under-test.ts'
import { until } from '../support/rondo-under-test.ts'

const DOCS = readFileSync('docs/OPERATING.md', 'utf8')

interface Shown {
  readonly method: string
  readonly path: string
  readonly body: unknown
  readonly output: Record<string, unknown>
}

/** The first block of commands below a heading: each curl, and the line that it prints. */
function shownBelow(heading: string): Shown[] {
  const [, section] = DOCS.split(`\n${heading}\n`)
  const [, block] = section!.split('```console\n')
  const lines = block!.split('\n```')[0]!.split('\n')
  return lines.flatMap((line, i) => {
    const found = /^\$ curl (?:-X (\w+) )?localhost:8080(\S+)(?: -H '[^']+' -d '([^']+)')?$/.exec(line)
    if (!found) return []
    const [, method, path, body] = found
    return [
      {
        method: method ?? (body === undefined ? 'GET' : 'POST'),
        path: path!,
        body: body === undefined ? undefined : (JSON.parse(body) as unknown),
        output: JSON.parse(lines[i + 1]!) as Record<string, unknown>,
      },
    ]
  })
}

/** What has to be as it is shown: of the rest, only whether it is there, and where. */
const EXACT = new Set([
  ...['epoch', 'phase', 'waitFor', 'state', 'receiving', 'place', 'beginsAfter', 'since', 'keysPerSecond'],
  ...['type', 'title', 'status', 'code'],
])

/** Fields in their order, with what has to be equal; figures, times, addresses and ids that are made up are left out. */
function shapeOf(value: unknown, name = ''): unknown {
  if (EXACT.has(name)) return value
  if (name === 'error') return String(value).replace(/[\d.]+:\d+/, '…')
  // Known only now and then.
  if (name === 'rate' || name === 'secondsLeft') return '…'
  if (Array.isArray(value)) return value.map((part) => shapeOf(part))
  if (typeof value !== 'object' || value === null) return value === null ? null : typeof value
  return Object.entries(value).map(([field, part]) => [field, shapeOf(part, field)])
}

describe('the commands of OPERATING.md that change the members', function () {
  this.timeout(90_000)
  let servers: RedisServer[]
  let under: MembersUnderTest

  beforeEach(async () => {
    servers = await startRedisCluster(5)
    under = new MembersUnderTest()
    await under.started(
      Object.fromEntries(servers.slice(0, 3).map((server, i) => [`redis-${i + 1}`, server])),
    )
    await until('all are in use', async () =>
      [...(await under.members()).values()].every(({ completeness }) => completeness === 'clean'),
    )
  })
  afterEach(async () => {
    await under.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })

  async function filled(): Promise<void> {
    const redis = await under.client('quorum')
    for (let i = 0; i < 300; i++) await redis.set(`key:${i}`, 'value')
  }
  /** With the addresses of this machine. */
  function run({ method, path, body }: Shown) {
    const text =
      body === undefined
        ? undefined
        : JSON.stringify(body).replace(/redis:\/\/10\.0\.0\.4:6379/, servers[3]!.url)
    return under.call(method, path, text === undefined ? undefined : (JSON.parse(text) as unknown))
  }
  async function answersAsShown(shown: Shown): Promise<void> {
    const { json } = await run(shown)
    expect(shapeOf(json), `${shown.method} ${shown.path}`).to.deep.equal(shapeOf(shown.output))
  }

  it('a node joins, and how far that is', async () => {
    const [join, running, ended, ...more] = shownBelow('## Changing the set of nodes')
    expect(more).to.deep.equal([])
    await filled()
    const throttle = (keysPerSecond: number) => under.call('POST', '/rebalance/throttle', { keysPerSecond })
    await throttle(50)
    await answersAsShown(join!)
    await throttle(0)
    await under.call('POST', '/rebalance/pause')
    const steered = shapeOf({ ...running!.output, state: 'paused' })
    expect(shapeOf((await run(running!)).json)).to.deep.equal(steered)
    await under.call('POST', '/rebalance/resume')
    await answersAsShown(running!)
    await until(
      'the leftovers are gone',
      async () => {
        const { report } = (await run(ended!)).json as { report: { leftovers: unknown } | null }
        return Boolean(report?.leftovers)
      },
      40_000,
    )
    await answersAsShown(ended!)
  })

  it('a change waits for another one', async () => {
    const [waits, ...more] = shownBelow('### Changes that wait')
    expect(more).to.deep.equal([])
    await filled()
    await under.call('POST', '/rebalance/throttle', { keysPerSecond: 20 })
    const joined = await under.call('POST', '/members/join', { url: servers[3]!.url, id: 'redis-4' })
    expect(joined.status).to.equal(202)
    await answersAsShown(waits!)
  })

  it('a node that holds keys is refused', async () => {
    const [join, ...more] = shownBelow('### What is checked of a node')
    expect(more).to.deep.equal([])
    await under.direct(servers[3]!).set('somebody', 'else')
    await answersAsShown(join!)
  })
})
