/**
 * WATCH: which commands count as a change of a key, and which leave it as it was. Every command of the table, on keys in
 * every state, to Rondo and to a real Redis: EXEC is stopped by both or by neither.
 */
import { expect } from 'chai'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { STEPS } from '../../../src/commands/specs.ts'
import { KEYS, LINES, MORE, STATES } from '../../support/change-lines.ts'
import { NEWER_COMMANDS } from '../../support/newer-commands.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

/** Of all keys that a line may leave; a flush would be a change of the topology each time. */
const CLEAR = ['SELECT 1', 'DEL {t}a', 'SELECT 0', 'DEL {t}a {t}b {t}new {t}nosuch']
/** Where Rondo differs on purpose: the last tests. */
const MEANT = [/^BITFIELD \S+ OVERFLOW FAIL (INCRBY|SET) \S+ \S+ \d+$/, /^PFCOUNT \S+$/]

describe('WATCH', function () {
  this.timeout(60_000)
  let redis: RedisServer
  let running: RunningRondo
  let ours: RawResp[]
  let theirs: RawResp[]
  before(async () => {
    // Otherwise Redis looks only ten times a second whether a client has waited long enough.
    redis = await startRedis({ args: ['--hz', '500'] })
    running = await startRondo()
    const two = (port: number) => Promise.all([RawResp.open(port), RawResp.open(port)])
    ours = await two(running.rondo.respServer.port)
    theirs = await two(redis.port)
  })
  after(async () => {
    for (const client of [...ours, ...theirs]) client.close()
    await running.stop()
    await redis.stop()
  })

  /** All in one write. */
  const ask = async (client: RawResp, lines: readonly string[]) => {
    client.send(Buffer.concat(lines.map((line) => command(...line.split(' ')))))
    return client.replies(lines.length)
  }
  /** What EXEC answers, and what the keys hold by then. */
  const outcome = async (
    [client, other]: RawResp[],
    before: readonly string[],
    line: string,
    isOwn: boolean,
  ) => {
    await ask(client!, [...CLEAR, ...before, `WATCH ${KEYS.join(' ')}`])
    await ask(isOwn ? client! : other!, line.split(';'))
    const replies = await ask(client!, ['MULTI', 'EXEC', ...KEYS.map((key) => `GET ${key}`)])
    return replies.slice(1)
  }

  it('every command is here', () => {
    expect([...Object.keys(LINES), ...NEWER_COMMANDS].sort()).to.deep.equal(Object.keys(STEPS).sort())
  })

  const levels = {
    one: Object.keys(STATES),
    // What is a change does not depend on the level, how it is noticed does: one state of each kind is enough.
    quorum: ['absent, both', 'absent since a DEL', 'a number that expires', 'text', 'a hash', 'a list'],
  }
  for (const [level, states] of Object.entries(levels)) {
    describe(`at ${level}, stops EXEC for the commands of Redis, and for no others`, () => {
      before(() => Promise.all(ours.map((client) => client.ask('RONDO', 'CONSISTENCY', level))))
      for (const state of states) {
        const before = STATES[state]!
        for (const isOwn of [false, true]) {
          it(`of ${isOwn ? 'its own client' : 'another client'}, {t}a being ${state}`, async () => {
            for (const line of [...Object.values(LINES).flat(), ...MORE]) {
              if (MEANT.some((pattern) => pattern.test(line))) continue
              const asked = [ours, theirs].map((clients) => outcome(clients, before, line, isOwn))
              const [mine, wanted] = await Promise.all(asked)
              expect(mine, line).to.deep.equal(wanted)
            }
          })
        }
      }
    })
  }

  const STOPPED = '*-1\r\n'
  const CARRIED_OUT = '*0\r\n'

  it('stops EXEC for a BITFIELD that fails, and makes the value longer all the same: Redis tells nobody', async () => {
    const line = 'BITFIELD {t}a OVERFLOW FAIL INCRBY i2 15 24'
    const held = ['$3\r\n\0\0\0\r\n', '$-1\r\n']
    expect(await outcome(theirs, [], line, false)).to.deep.equal([CARRIED_OUT, ...held])
    expect(await outcome(ours, [], line, false)).to.deep.equal([STOPPED, ...held])
    const before = ['SET {t}a abc']
    expect((await outcome(theirs, before, line, false))[0]).to.equal(CARRIED_OUT)
    expect((await outcome(ours, before, line, false))[0]).to.equal(CARRIED_OUT)
  })

  it('does not stop EXEC for PFCOUNT: Redis stores the count with the value', async () => {
    expect((await outcome(theirs, ['PFADD {t}a x'], 'PFCOUNT {t}a', false))[0]).to.equal(STOPPED)
    expect((await outcome(ours, ['PFADD {t}a x'], 'PFCOUNT {t}a', false))[0]).to.equal(CARRIED_OUT)
  })
})
