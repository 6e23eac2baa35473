/**
 * A node that lies: every command that the driver sends, on both paths, answered with each kind of nonsense.
 *
 * Whatever it is told, each call is answered exactly once (node-calls.ts watches over that), no error reaches the process,
 * and what is said of it is short. Where an answer can only be a lie, the connection that it came on is not used again.
 * The table of calls is complete: a method of the node or a script without a row fails.
 */
import { expect } from 'chai'
import { KIND_HASH } from '../../src/core/codec.ts'
import { CHANGES_CHANNEL, DECIDED_KEY, hintsKey, MARKER_KEY, TOPOLOGY_KEY } from '../../src/core/keys.ts'
import { Floors } from '../../src/core/floors.ts'
import { FAR_END_MS } from '../../src/core/lifetime.ts'
import { GENERATION_BYTES, partKey } from '../../src/core/part-keys.ts'
import type { Node } from '../../src/nodes/node.ts'
import { RedisNode } from '../../src/nodes/redis/redis-node.ts'
import * as scripts from '../../src/nodes/redis/scripts.ts'
import {
  accept,
  get,
  hint,
  lives,
  peek,
  prepare,
  record,
  starts,
  store,
  storeAll,
  version,
} from '../support/node-calls.ts'
import { realClock, realTimers } from '../support/real-time.ts'
import { ScriptedServer, type Answer } from '../support/scripted-server.ts'
import { GRACE_MS, HeardListener } from '../../src/library/node-contract/contract.ts'

const RUN_ID = 'a'.repeat(40)
const MARKER = Buffer.from('{"cluster":"c","id":"r"}')
const FENCE = { marker: MARKER, runId: RUN_ID, clean: true, epoch: 1 }
/** Of ioredis, which nobody outside knows. */
const WORDS_OF_THE_CLIENT =
  /Command timed out|Connection is closed|enableOfflineQueue|isn't writeable|aborted due/
/** Of what is said of a call, in characters of JSON. */
const SHORT = 2000
const KEY = Buffer.from('k')
const VERSION = version({ ms: 5 })

const bulk = (bytes: Buffer | string) => {
  const body = Buffer.from(bytes)
  return Buffer.concat([Buffer.from(`$${body.length}\r\n`), body, Buffer.from('\r\n')])
}
const array = (...parts: (Buffer | string)[]) =>
  Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...parts.map((part) => Buffer.from(part))])
const LONG = Buffer.alloc(3_000_000, 'e')
const MANY = Buffer.from(`*200000\r\n${'$0\r\n\r\n'.repeat(200_000)}`)

/** What an honest node would say. */
const HONEST: Record<string, Answer> = {
  TIME: array(bulk('1700000000'), bulk('5')),
  INFO: bulk(
    `redis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:${RUN_ID}\r\nused_memory:1\r\naof_enabled:1\r\n`,
  ),
  [`GET ${MARKER_KEY.toString()}`]: bulk(MARKER),
  GET: '$-1\r\n',
  'GET a hash': '-WRONGTYPE Operation against a key holding the wrong kind of value\r\n',
  GETRANGE: bulk(''),
  'GETRANGE a hash': '-WRONGTYPE Operation against a key holding the wrong kind of value\r\n',
  foreign: bulk('hof DUMP'),
  [`GETRANGE ${TOPOLOGY_KEY.toString()}`]: bulk(''),
  [`GET ${TOPOLOGY_KEY.toString()}`]: '$-1\r\n',
  [`GETRANGE ${DECIDED_KEY.toString()}`]: bulk(''),
  EXISTS: ':0\r\n',
  // Hints, of which a probe asks how many there are.
  [`EXISTS ${hintsKey('b').toString()}`]: ':2\r\n',
  peek: '$-1\r\n',
  HLEN: ':0\r\n',
  HSCAN: array(bulk('0'), array(bulk('k'), bulk(VERSION))),
  PTTL: ':5\r\n',
  SET: '+OK\r\n',
  EVAL: ':1\r\n',
  CONFIG: array(bulk('appendfsync'), bulk('always')),
  store: ':1\r\n',
  patch: ':1\r\n',
  'swap-marker': ':1\r\n',
  empty: ':1\r\n',
  hint: ':1\r\n',
  'drop-hint': ':1\r\n',
  'drop-copy': ':1\r\n',
  stamp: ':1\r\n',
  PUBLISH: ':2\r\n',
  HELLO: '%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n',
  SUBSCRIBE: array(bulk('subscribe'), bulk(CHANGES_CHANNEL), ':1\r\n'),
  'drop-below': array(bulk('0'), ':1\r\n'),
  'drop-older': ':1\r\n',
  'check-in': array(bulk('00c0ffee'), ':5\r\n', bulk('{}')),
  lease: ':1\r\n',
  prepare: bulk('0'),
  accept: ':1\r\n',
  'store-all': bulk('+1000'),
  scan: array(bulk('0'), bulk('k'), bulk('head')),
  SCAN: array(bulk('0'), array(bulk('k'))),
  'check-permissions': '*0\r\n',
}

/** The same for two keys. */
const HONEST_OF_TWO: Record<string, Buffer | string> = {
  'store-all': bulk('+1000 0'),
  prepare: array(bulk('0'), bulk(Buffer.concat([Buffer.from('-'), VERSION]))),
}

interface Lie {
  readonly name: string
  /** Null = none; `ends` closes the connection behind what was said. */
  readonly say: (honest: Buffer) => { bytes: Buffer | null; ends?: boolean }
}

const lie = (name: string, bytes: Buffer | string): Lie => ({
  name,
  say: () => ({ bytes: Buffer.from(bytes) }),
})
const LIES: readonly Lie[] = [
  lie('OK', '+OK\r\n'),
  lie('an empty simple string', '+\r\n'),
  lie('nil', '$-1\r\n'),
  lie('a nil array', '*-1\r\n'),
  lie('an empty bulk', bulk('')),
  lie('one byte', bulk('L')),
  lie('two bytes', bulk('S1')),
  lie('L and too little', bulk('L\0\0')),
  lie('S and too little', bulk('SSSSSSSS')),
  lie('all that fits, and more', bulk('AAAAAAAAAAAAAAAAAAA')),
  lie('too late', bulk('T')),
  lie('plus and no number', bulk('+abc')),
  lie('plus and too many', bulk('+1 2 3 4 5')),
  lie('plus and a large number', bulk('+99999999999999999999')),
  lie('minus and too little', bulk('-\x14abc')),
  lie('bytes', bulk(Buffer.from([0xff, 0x52, 0x44, 1, 0x3f, ...Array<number>(60).fill(0xff)]))),
  lie('a negative number', ':-1\r\n'),
  lie('99', ':99\r\n'),
  lie('2^63', ':9223372036854775807\r\n'),
  lie('a number that is none', ':abc\r\n'),
  lie('NaN', ':NaN\r\n'),
  lie('a number of 1 MB', `:${'9'.repeat(1_000_000)}\r\n`),
  lie('an empty array', '*0\r\n'),
  lie('an array of numbers', array(':1\r\n', ':2\r\n')),
  lie('an array of words', array(bulk('abc'), bulk('def'))),
  lie('an array of two records', array(bulk('+abc'), bulk('+'))),
  lie('an array of half a version', array(bulk('-abc'), bulk('0'))),
  lie('an array that ends within', array(bulk('0'), '-ERR no\r\n')),
  lie('an odd array', array(bulk('0'), bulk('k'))),
  lie('a cursor that is text', array(bulk('../;x'))),
  lie('a page with an array', array(bulk('7'), array(bulk('a'), bulk('b'), bulk('c')))),
  lie('arrays in arrays', '*1\r\n'.repeat(50_000)),
  lie('a count of 30 million', '*30000000\r\n'),
  lie('a count of 10^11', '*99999999999\r\n'),
  lie('a negative count', '*-5\r\n'),
  lie('200,000 elements', MANY),
  lie('a bulk of 10^18 bytes', '$999999999999999999\r\n'),
  lie('a bulk of -7 bytes', '$-7\r\n'),
  lie('a bulk that ends elsewhere', '$1\r\nabc\r\n'),
  lie('an error', '-ERR no\r\n'),
  lie('an error without a word', '-\r\n'),
  lie('an error of 3 MB', Buffer.concat([Buffer.from('-ERR '), LONG, Buffer.from('\r\n')])),
  lie('an error in another script', '-MOVED 1234 127.0.0.1:1\r\n'),
  lie('an error with control bytes', '-ERR \x1b[2J\x00\x07\u202e\r\n'),
  lie('a line of 3 MB without an end', Buffer.concat([Buffer.from('+'), LONG])),
  lie('a push', '>2\r\n+a\r\n+b\r\n'),
  lie('a push of nil', '>1\r\n_\r\n'),
  lie('a push without a channel', '>1\r\n+subscribe\r\n'),
  lie('a map', '%1\r\n+a\r\n+b\r\n'),
  lie('a null of RESP3', '_\r\n'),
  lie('HTTP', 'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'),
  lie('zeros', Buffer.alloc(100)),
  lie('nothing', ''),
  {
    name: 'half of what is right, and the end',
    say: (honest) => ({ bytes: honest.subarray(0, honest.length >> 1), ends: true }),
  },
  { name: 'the end', say: () => ({ bytes: null, ends: true }) },
  { name: 'twice what is right', say: (honest) => ({ bytes: Buffer.concat([honest, honest]) }) },
  {
    name: 'a nil behind what is right',
    say: (honest) => ({ bytes: Buffer.concat([honest, Buffer.from('$-1\r\n')]) }),
  },
  {
    name: 'a push before what is right',
    say: (honest) => ({ bytes: Buffer.concat([Buffer.from('>1\r\n_\r\n'), honest]) }),
  },
]
/** Nothing comes at all: the deadline ends it, and a short one suffices. */
const SILENT = 'nothing'
const HASTY_MS = 50
/** A line that does not end: the deadline ends some of the calls, and what comes then has to be within it. */
const ENDLESS = 'zeros'
const HURRIED_MS = 1000
const PATIENT_MS = 5000

/** Which of these an honest node could say as well. Whatever is not here fails its call. */
const A_BULK = [
  'an empty bulk',
  'one byte',
  'two bytes',
  'L and too little',
  'S and too little',
  'too late',
  'bytes',
]
const ANY_BULK = [
  ...A_BULK,
  'all that fits, and more',
  'plus and no number',
  'plus and too many',
  'plus and a large number',
  'minus and too little',
]
const A_RECORD = ['plus and no number', 'plus and too many', 'plus and a large number']
const AN_ERROR = LIES.map(({ name }) => name).filter((name) => /^an error(?! of)/.test(name))
/** To ioredis a simple string is a bulk, and a nil array nil. */
const ANY_BYTES = [...ANY_BULK, 'nil', 'a nil array', 'OK', 'an empty simple string']
const ANSWERS: Record<string, readonly string[]> = {
  'data GET': [...ANY_BULK, 'nil'],
  // It was there; what comes behind it ends the connection, as an answer to nothing.
  [`data GET ${MARKER_KEY.toString()}`]: ['twice what is right', 'a nil behind what is right'],
  // A head has 43 bytes at most.
  'data GETRANGE': ANY_BULK.filter((name) => name !== 'bytes'),
  // Nil: a part is there already, and the script has the last word.
  'data SET': ['OK', 'nil'],
  'data PTTL': ['99', 'a negative number'],
  'data peek': ['nil'],
  // It holds a string meanwhile, or nothing.
  'data foreign': ['nil'],
  'data prepare': [...A_RECORD, 'an array of two records'],
  'control GET': ANY_BYTES,
  [`control GET ${MARKER_KEY.toString()}`]: ANY_BYTES,
  [`control GET ${TOPOLOGY_KEY.toString()}`]: ANY_BYTES,
  [`control GETRANGE ${TOPOLOGY_KEY.toString()}`]: ANY_BYTES.filter((name) => !/^(a )?nil/.test(name)),
  [`control GETRANGE ${DECIDED_KEY.toString()}`]: ANY_BYTES.filter((name) => !/^(a )?nil/.test(name)),
  'control HLEN': ['99'],
  'data SCAN': ['a page with an array'],
  'control PTTL': ['99', 'a negative number'],
  'control SET': ['OK'],
  'control PUBLISH': ['99'],
  // What comes behind it is an announcement.
  'control SUBSCRIBE': ['twice what is right', 'a nil behind what is right'],
  'control HELLO': ['twice what is right', 'a nil behind what is right'],
  'control check-in': ['an empty array'],
  'control check-permissions': ['an empty array'],
  // Nil is how it says that the marker is another one.
  'control drop-below': ['nil', 'a nil array'],
  'control drop-older': ['a negative number'],
  'control prepare': A_RECORD,
  // What cannot be asked for is not needed.
  'control CONFIG': ['an empty array', ...AN_ERROR],
}

interface Row {
  /** The command, or the name of the script, that is lied about. */
  readonly command: string
  readonly path: 'data' | 'control'
  readonly call: (node: Node) => Promise<unknown>
}

const PART = partKey(KEY, Buffer.alloc(GENERATION_BYTES, 7), { id: 1, stamp: 2 })
const PATCHED = {
  ...record(5, Buffer.alloc(2000, 'v')),
  patch: { base: version({ ms: 4 }), edits: [{ at: 7, bytes: Buffer.from('w') }] },
}
const write = { key: KEY, record: record(5), lifeMs: 1000, onlyIf: version({ ms: 4 }) }
const ROWS: Record<string, readonly Row[]> = {
  get: [
    { command: 'GET', path: 'data', call: (node) => get(node, 'k') },
    { command: `GET ${MARKER_KEY.toString()}`, path: 'data', call: (node) => get(node, 'k') },
    { command: 'foreign', path: 'data', call: (node) => get(node, 'a hash') },
  ],
  peek: [
    { command: 'GETRANGE', path: 'data', call: (node) => peek(node, 'k', 'head') },
    { command: 'EXISTS', path: 'data', call: (node) => peek(node, 'k', 'head') },
    { command: 'peek', path: 'data', call: (node) => peek(node, 'k', 'length') },
    { command: 'peek', path: 'data', call: (node) => peek(node, 'k', { from: 0, to: 3 }) },
    { command: 'foreign', path: 'data', call: (node) => peek(node, 'a hash', 'head') },
  ],
  // It is never the same.
  adoptForeign: [{ command: 'foreign', path: 'data', call: adopted }],
  store: [
    { command: 'store', path: 'data', call: (node) => store(node, 'k', record(5)) },
    {
      command: 'store',
      path: 'data',
      call: (node) => Promise.all(['a', 'b', 'c'].map((key) => store(node, key, record(5), 1000))),
    },
    { command: 'store', path: 'data', call: (node) => store(node, 'k', record(5), 1000, { untilMs: 5 }) },
    { command: 'SET', path: 'data', call: (node) => store(node, PART, record(5), FAR_END_MS) },
    { command: 'patch', path: 'data', call: (node) => store(node, 'k', PATCHED, FAR_END_MS) },
  ],
  prepare: [
    { command: 'prepare', path: 'data', call: (node) => prepare(node, 'k', VERSION) },
    {
      command: 'prepare',
      path: 'data',
      call: (node) => Promise.all(['a', 'b'].map((key) => prepare(node, key, VERSION))),
    },
  ],
  accept: [{ command: 'accept', path: 'data', call: (node) => accept(node, 'k', record(5)) }],
  storeAll: [
    { command: 'store-all', path: 'data', call: (node) => storeAll(node, [write]) },
    {
      command: 'store-all',
      path: 'data',
      call: (node) => storeAll(node, [write, { ...write, record: null }]),
    },
    {
      command: 'patch',
      path: 'data',
      call: (node) => storeAll(node, [{ ...write, record: PATCHED, lifeMs: FAR_END_MS }]),
    },
  ],
  hint: [{ command: 'hint', path: 'data', call: (node) => hint(node, 'b', 'k', VERSION) }],
  open: [
    { command: 'INFO', path: 'data', call: (node) => node.open(FENCE) },
    { command: `GET ${MARKER_KEY.toString()}`, path: 'data', call: (node) => node.open(FENCE) },
  ],
  probe: [
    'TIME',
    'GET',
    `GET ${MARKER_KEY.toString()}`,
    'INFO',
    `GETRANGE ${TOPOLOGY_KEY.toString()}`,
    `GET ${TOPOLOGY_KEY.toString()}`,
    `EXISTS ${hintsKey('b').toString()}`,
    'HLEN',
    'CONFIG',
  ].map((command): Row => ({
    command,
    path: 'control',
    call: (node) => node.probe(['b', 'c']),
  })),
  decided: [
    { command: `GETRANGE ${DECIDED_KEY.toString()}`, path: 'control', call: (node) => node.decided() },
  ],
  forbidden: ['check-permissions', 'EVAL'].map((command): Row => ({
    command,
    path: 'control',
    call: (node) => node.forbidden(),
  })),
  tryWrite: [{ command: 'SET', path: 'control', call: (node) => node.tryWrite() }],
  swapMarker: [{ command: 'swap-marker', path: 'control', call: (node) => node.swapMarker(null, MARKER) }],
  announce: [{ command: 'PUBLISH', path: 'control', call: (node) => node.announce() }],
  subscribe: [{ command: 'SUBSCRIBE', path: 'control', call: subscribedTo }],
  messenger: [{ command: 'HELLO', path: 'control', call: messengerOf }],
  checkIn: [
    { command: 'check-in', path: 'control', call: (node) => node.checkIn(MARKER, '00c0ffee', '{}', true) },
  ],
  empty: [{ command: 'empty', path: 'control', call: (node) => node.empty(null) }],
  stamp: [
    { command: 'stamp', path: 'control', call: (node) => node.stamp(MARKER, { atMs: 5, assumed: false }) },
  ],
  dropBelow: [
    {
      command: 'drop-below',
      path: 'control',
      call: (node) => node.dropBelow(MARKER, new Floors([{ database: null, version: VERSION }]), '0', 10),
    },
  ],
  dropOlder: [{ command: 'drop-older', path: 'control', call: (node) => node.dropOlder(MARKER, [KEY], 5) }],
  lease: [{ command: 'lease', path: 'control', call: (node) => node.lease('fill', 'me', 1000) }],
  hints: [{ command: 'HSCAN', path: 'control', call: (node) => node.hints('b', '0', 10) }],
  dropHint: [{ command: 'drop-hint', path: 'control', call: (node) => node.dropHint('b', KEY, VERSION) }],
  dropCopy: [{ command: 'drop-copy', path: 'control', call: (node) => node.dropCopy(MARKER, KEY, VERSION) }],
  prepareRegister: [{ command: 'prepare', path: 'control', call: (node) => node.prepareRegister(VERSION) }],
  acceptRegister: [{ command: 'accept', path: 'control', call: (node) => node.acceptRegister(record(5)) }],
  keys: [{ command: 'SCAN', path: 'data', call: (node) => node.keys('0', 10) }],
  starts: [{ command: 'GETRANGE', path: 'data', call: (node) => starts(node, [KEY, KEY], 43) }],
  lives: [{ command: 'PTTL', path: 'data', call: (node) => lives(node, [KEY, KEY]) }],
  scan: [{ command: 'scan', path: 'control', call: (node) => node.scan('0', null, 10) }],
  lifeMs: [{ command: 'PTTL', path: 'control', call: (node) => node.lifeMs(KEY) }],
}
/** They send nothing, or send what another one sends. */
const WITHOUT_ROW = new Set([
  'constructor',
  'ready',
  'shut',
  'close',
  'judge',
  'peekByScript',
  'lookAtForeign',
  'sendWithText',
  'storeByScript',
  'address',
  'follows',
  'changes', // tracking.test.ts
])

function adopted(node: Node): Promise<unknown> {
  return new Promise((resolve) => {
    ;(node as RedisNode).adoptForeign(KEY, {
      onFound: (record) => resolve({ kind: 'record', record }),
      onString: () => resolve({ kind: 'string' }),
      onFailure: (_, failure) => resolve({ kind: 'failed', failure }),
    })
  })
}

const PRIVATE = new Set([
  'send',
  'enqueue',
  'gather',
  'gatherStore',
  'patch',
  'usableLink',
  'linkOptions',
  'tlsOptions',
  'sendGathered',
  'askEach',
  'shows',
  'dataPathEnded',
])

const NAMES = new Map(
  Object.entries(scripts).flatMap(([name, value]) =>
    typeof value === 'object' ? [[value.sha, name.toLowerCase().replaceAll('_', '-')] as const] : [],
  ),
)

describe('a node that lies', () => {
  let server: ScriptedServer
  let node: RedisNode
  /** What is lied about, and how; and how often it was. */
  let lying: { command: string; lie: Lie } | null
  let lied = 0
  const escaped: unknown[] = []
  const onEscaped = (error: unknown) => void escaped.push(error)

  function connect(timeoutMs: number): void {
    node = new RedisNode({
      id: 'r',
      address: { host: '127.0.0.1', port: server.port, tls: false },
      graceMs: GRACE_MS,
      nodeTimeoutMs: timeoutMs,
      connectTimeoutMs: timeoutMs,
      maxValueBytes: 1024,
      readDump: (dump, done) => done({ kind: KIND_HASH, value: dump }),
      clock: realClock,
      timers: realTimers,
    })
    node.listener = new HeardListener()
  }

  const honest = (command: readonly string[]): { name: string; answer: Buffer } => {
    const [word = '', first = '', ...more] = command
    if (word === 'SCRIPT') return { name: 'SCRIPT', answer: bulk(shaOf(more[0]!)) }
    const script = word === 'EVALSHA' ? NAMES.get(first) : undefined
    const name = script ?? (HONEST[`${word} ${first}`] === undefined ? word : `${word} ${first}`)
    // As many outcomes as there are keys.
    const wide = more[0] === '2' ? (HONEST_OF_TWO[name] ?? HONEST[name]) : HONEST[name]
    return { name, answer: Buffer.from(wide as string) }
  }

  before(() => {
    process.on('uncaughtException', onEscaped)
    process.on('unhandledRejection', onEscaped)
  })
  after(() => {
    process.off('uncaughtException', onEscaped)
    process.off('unhandledRejection', onEscaped)
  })
  beforeEach(async () => {
    lying = null
    server = await ScriptedServer.start((command, socket) => {
      const { name, answer } = honest(command)
      if (lying?.command !== name) return answer
      lied++
      const { bytes, ends } = lying.lie.say(answer)
      // What was answered before it leaves first.
      if (ends) setImmediate(() => socket.end())
      return bytes
    })
    connect(PATIENT_MS)
  })
  afterEach(async () => {
    await node.close()
    await server.stop()
  })

  it('has a row for every method of the node', () => {
    const methods = Object.getOwnPropertyNames(RedisNode.prototype)
    const missing = methods.filter((name) => !(name in ROWS) && !WITHOUT_ROW.has(name) && !PRIVATE.has(name))
    expect(missing).to.deep.equal([])
  })

  it('has a row for every script', () => {
    const commands = new Set(Object.values(ROWS).flatMap((rows) => rows.map(({ command }) => command)))
    expect([...NAMES.values()].filter((name) => !commands.has(name))).to.deep.equal([])
  })

  for (const [method, rows] of Object.entries(ROWS)) {
    for (const { command, path, call } of rows) {
      it(`${method}, ${path} path: ${command} answered with anything ends in one short answer, and in use again`, async () => {
        for (const how of LIES) {
          const before = lied
          const failed = await told(call, { command, how, opens: method === 'open', path })
          expect(lied, `${how.name} was never said`).to.be.above(before)
          const mayCount = (ANSWERS[`${path} ${command}`] ?? []).includes(how.name)
          if (!mayCount) expect(failed, `${how.name} counted as an answer`).to.equal(true)
          expect(escaped, how.name).to.deep.equal([])
          if (how.name !== SILENT) await expectWell(how.name)
        }
      }).timeout(30_000)
    }
  }

  interface Asked {
    readonly command: string
    readonly how: Lie
    readonly opens: boolean
    readonly path: Row['path']
  }

  /** Whether the call failed. */
  async function told(call: Row['call'], { command, how, opens, path }: Asked): Promise<boolean> {
    await node.close()
    connect(how.name === SILENT ? HASTY_MS : how.name === ENDLESS ? HURRIED_MS : PATIENT_MS)
    if (!opens && path === 'data') await node.open(FENCE)
    if (!opens && path === 'control' && command !== 'CONFIG') await node.probe().catch(() => node.probe())
    lying = { command, lie: how }
    const ended: { failed: boolean; shown: string }[] = []
    await call(node).then(
      (answer) => ended.push({ failed: hasFailed(answer), shown: JSON.stringify(answer) ?? '' }),
      (error: Error) => ended.push({ failed: true, shown: error.message }),
    )
    lying = null
    expect(ended.length, how.name).to.equal(1)
    expect(ended[0]!.shown.length, `${how.name}: ${ended[0]!.shown.slice(0, 300)}`).to.be.below(SHORT)
    expect(ended[0]!.shown, how.name).to.not.match(WORDS_OF_THE_CLIENT)
    return ended[0]!.failed
  }

  /** Whatever it has said before, an honest answer counts again. */
  async function expectWell(after: string): Promise<void> {
    node.shut('a lie')
    await node.open(FENCE)
    expect((await get(node, 'k')).kind, after).to.equal('absent')
    // That the other side has ended the connection may be noticed by the first probe only.
    const report = await node.probe().catch(() => node.probe())
    expect(Number.isFinite(report.timeMs), after).to.equal(true)
  }
})

/** Resolves once it is open. */
function messengerOf(node: Node): Promise<void> {
  return new Promise((resolve, reject) => {
    const messenger = node.messenger({
      opened: () => {
        messenger.close()
        resolve()
      },
      message: () => undefined,
      ended: (why) => reject(new Error(why)),
    })
  })
}

/** Resolves once it is subscribed. */
function subscribedTo(node: Node): Promise<void> {
  return new Promise((resolve, reject) => {
    const subscription = node.subscribe({
      subscribed: () => {
        subscription.close()
        resolve()
      },
      announced: () => undefined,
      ended: (why) => reject(new Error(why)),
    })
  })
}

/** One failure, or nothing but failures. */
function hasFailed(answer: unknown): boolean {
  const answers = Array.isArray(answer) ? (answer as unknown[]) : [answer]
  return answers.length > 0 && answers.every((one) => (one as { kind?: string } | null)?.kind === 'failed')
}

function shaOf(text: string): string {
  for (const value of Object.values(scripts)) {
    if (typeof value === 'object' && value.text.toString('latin1') === text) return value.sha
  }
  throw new Error('a script that nobody has')
}
