// POST /api/v1/command: every command on keys answers what it answers over the Redis protocol, for keys that are no UTF-8, at
// every level. The lines are those of key-lines.ts, so that no command can be forgotten.
import { expect } from 'chai'
import { STEPS } from '../../../src/commands/specs.ts'
import { KEY_LINES, NEEDS_CONNECTION } from '../../support/key-lines.ts'
import { NEWER_COMMANDS } from '../../support/newer-commands.ts'
import { call } from '../../support/raw-http.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const LINES: Readonly<Record<string, readonly string[]>> = {
  ...KEY_LINES,
  delex: ['DELEX {t}k', 'DELEX {t}k IFEQ 6'],
  delifeq: ['DELIFEQ {t}k 5'],
  digest: ['DIGEST {t}k'],
  msetex: ['MSETEX 2 {t}k 1 {t}other 2 EX 50', 'MSETEX 1 {t}k 1 NX'],
}
const WITHOUT_KEYS = [
  'PING',
  'PING hello',
  'ECHO hello',
  'DBSIZE',
  'KEYS *',
  'RANDOMKEY',
  'SCAN 0 COUNT 100',
  'NOSUCH',
]

/** What the keys hold before a command of their type. */
const PLANTS: readonly (readonly [names: RegExp, plant: readonly string[]])[] = [
  [/^h/, ['HSET', 'f', '5']],
  [/^(l(?!cs)|r(push|pop)|sort)/, ['RPUSH', '5', '6']],
  [/^s([a-z]*(union|inter|diff|member|card|move|pop|rem|add)|scan)/, ['SADD', '5', 'f']],
  [/^(z|geo)/, ['ZADD', '1', 'f', '2', 'x']],
  [/^x/, ['XADD', '1-1', 'f', '5']],
  [/^pf/, ['PFADD', 'a', 'b']],
  [/(?:)/, ['SET', '5']],
]
const RANDOM = /^(spop|srandmember|hrandfield|zrandmember)$/
const KEYS = ['{t}k', '{t}other', '{t}new', '{t}nosuch']

const SIZES: Readonly<Record<string, string>> = {
  string: 'STRLEN',
  hash: 'HLEN',
  list: 'LLEN',
  set: 'SCARD',
  zset: 'ZCARD',
  stream: 'XLEN',
}

/** Each character a byte, and none of the keys UTF-8. */
const binary = (arg: string) => arg.replaceAll('{t}', '{t}\xff')

/** A reply of RESP2, as latin1. */
function parsed(reply: string): unknown {
  let at = 0
  const one = (): unknown => {
    const end = reply.indexOf('\r\n', at)
    const [mark, rest] = [reply[at], reply.slice(at + 1, end)]
    at = end + 2
    if (mark === ':') return Number(rest)
    if (mark === '+') return rest
    if (mark === '-') return new Error(Buffer.from(rest, 'latin1').toString())
    if (rest === '-1') return null
    if (mark === '*') return Array.from({ length: Number(rest) }, one)
    at += Number(rest) + 2
    return reply.slice(at - Number(rest) - 2, at - 2)
  }
  return one()
}

/** A result in JSON, in the same form. */
function plain(result: unknown): unknown {
  if (Array.isArray(result)) return result.map(plain)
  if (typeof result === 'string') return Buffer.from(result, 'utf8').toString('latin1')
  if (result === null || typeof result !== 'object') return result
  const { base64, error } = result as { base64?: string; error?: string }
  return base64 === undefined ? new Error(error) : Buffer.from(base64, 'base64').toString('latin1')
}

describe('POST /api/v1/command, beside the Redis protocol', () => {
  let running: RunningRondo
  let redis: RawResp
  before(async () => {
    running = await startRondo()
    redis = await RawResp.open(running.rondo.respServer.port)
  })
  after(async () => {
    redis.close()
    await running.stop()
  })

  async function overHttp(args: readonly string[], query: string): Promise<unknown> {
    const sent = args.map((arg) => {
      const bytes = Buffer.from(arg, 'latin1')
      return bytes.every((byte) => byte < 0x80) ? arg : { base64: bytes.toString('base64') }
    })
    const path = `/api/v1/command${query}`
    const answer = await call(running.ports.socket, 'POST', path, { body: { command: sent } })
    const { result, error } = answer.json()
    return answer.status === 200 ? plain(result) : new Error(String(error))
  }
  /** All in one write. */
  const askAll = async (commands: readonly (readonly string[])[]): Promise<unknown[]> => {
    redis.send(Buffer.concat(commands.map((args) => command(...args))))
    return (await redis.replies(commands.length)).map(parsed)
  }
  const plant = async (name: string) => {
    const [, [fill, ...args]] = PLANTS.find(([names]) => names.test(name))! as [RegExp, [string, ...string[]]]
    const clear = ['DEL', ...KEYS.map(binary)]
    const filled = KEYS.slice(0, 2).map((key) => [fill, binary(key), ...args])
    await askAll([['SELECT', '1'], clear, ['SELECT', '0'], clear, ...filled])
  }
  const comparable = (name: string, reply: unknown) => {
    if (reply instanceof Error) return `error: ${reply.message}`
    return RANDOM.test(name) && Array.isArray(reply) ? [...(reply as unknown[])].sort() : reply
  }

  it('has a line of every command on keys', () => {
    expect([...Object.keys(KEY_LINES), ...NEWER_COMMANDS].sort()).to.deep.equal(Object.keys(STEPS).sort())
    expect(Object.keys(LINES).sort()).to.deep.equal(Object.keys(STEPS).sort())
  })

  for (const query of ['', '?consistency=quorum']) {
    it(`every command answers the same, and does the same${query && ` (${query})`}`, async () => {
      for (const [name, lines] of Object.entries(LINES)) {
        if (NEEDS_CONNECTION.test(name)) continue
        for (const line of lines) {
          const args = line.split(' ').map(binary)
          await plant(name)
          const [theirs, left] = [parsed(await redis.ask(...args)), await stateOf()]
          await plant(name)
          const ours = await overHttp(args, query)
          if (!(RANDOM.test(name) && typeof ours === 'string')) {
            expect(comparable(name, ours), line).to.deep.equal(comparable(name, theirs))
          }
          expect(await stateOf(), line).to.deep.equal(left)
        }
      }
    }).timeout(30_000)
  }

  it('commands without keys answer the same', async () => {
    await plant('get')
    for (const line of WITHOUT_KEYS) {
      const theirs = parsed(await redis.ask(...line.split(' ')))
      const ours = await overHttp(line.split(' '), '')
      if (line === 'RANDOMKEY') expect(KEYS.map(binary)).to.include(ours)
      else expect(comparable(line, ours), line).to.deep.equal(comparable(line, theirs))
    }
  })

  /** Types and lengths of all keys: what a command has done. */
  async function stateOf(): Promise<unknown[]> {
    const keys = KEYS.map(binary)
    const types = await askAll(keys.map((key) => ['TYPE', key]))
    const sizes = keys.flatMap((key, i) => {
      const size = SIZES[String(types[i])]
      return size === undefined ? [] : [[size, key]]
    })
    return [types, await askAll(sizes)]
  }
})
