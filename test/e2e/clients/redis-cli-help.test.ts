// Who types into redis-cli finds what it tells of commands as with a Redis: hints while typing, and `help`.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect } from 'chai'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'
import { findTool, run } from './four-nodes.ts'
import { NEWER_COMMANDS } from '../../support/newer-commands.ts'

/** What Redis 7.0 does not have. */
const NEWER_ARGUMENTS = '|IFEQ ifeq-value|IFNE ifne-value|IFDEQ ifdeq-digest|IFDNE ifdne-digest'
const HINTED = [
  'set ',
  'GETEX k ',
  'lcs ',
  'bitpos k ',
  'bitfield k ',
  'bitfield_ro ',
  'pfadd k ',
  'pfmerge ',
  'expire k ',
  'copy a ',
  'mset ',
  'client list ',
]
const HELPED = [
  'set',
  'getex',
  'bitcount',
  'bitfield',
  'bitfield_ro',
  'pfcount',
  'hello',
  'client reply',
  'config get',
  'multi',
]
const GROUPS = ['string', 'bitmap', 'hyperloglog', 'generic', 'transactions', 'connection']
/** Shown within this time, or never. */
const LIMIT_MS = 5000

describe('hints and help of redis-cli', function () {
  this.timeout(40_000)
  let running: RunningRondo
  let redis: RedisServer
  let cli: string
  let script: string
  before(async function () {
    const [foundCli, foundScript] = await Promise.all(['redis-cli', 'script'].map(findTool))
    if (!foundCli || !foundScript) {
      this.test!.parent!.title += ` (skipped: there is no ${foundCli ? 'script' : 'redis-cli'})`
      this.skip()
    }
    ;[cli, script] = [foundCli, foundScript]
    running = await startRondo()
    redis = await startRedis()
  })
  after(async () => {
    await redis?.stop()
    await running?.stop()
  })
  const ports = () => [running.rondo.respServer.port, redis.port] as const

  for (const typed of HINTED) {
    it(`while one types '${typed}'`, async () => {
      const hints = await Promise.all(ports().map((port) => hintFor(script, cli, port, typed)))
      expect(hints[0]!.replace(NEWER_ARGUMENTS, '')).to.equal(hints[1])
    })
  }

  it('for commands of our own', async () => {
    expect(await hintFor(script, cli, ports()[0], 'rondo consistency ')).to.equal(
      '[READ|WRITE] [ONE|QUORUM|ALL|DEFAULT]',
    )
  })

  for (const name of HELPED) {
    it(`help ${name}: arguments, group and version of Redis, and a sentence of our own`, async () => {
      const [ours, theirs] = await Promise.all(ports().map((port) => help(cli, port, ...name.split(' '))))
      const sentence = /summary: .+\n/
      expect(ours).to.match(sentence)
      expect(ours!.replace(sentence, '').replace(NEWER_ARGUMENTS, '')).to.equal(theirs!.replace(sentence, ''))
    })
  }

  it('help of a group lists its commands', async () => {
    for (const group of GROUPS) {
      const [ours, theirs] = await Promise.all(ports().map((port) => help(cli, port, `@${group}`)))
      // A line of a command, and two below it.
      const commandsIn = (text: string) =>
        [...text.matchAll(/^ {2}([A-Z][^a-z\n]*) .*\n {2}summary:/gm)].map(([, name]) =>
          name!.replace(/ [A-Z]+\|.*/, ''),
        )
      expect(commandsIn(ours!), group).to.have.length.above(2)
      for (const name of commandsIn(ours!)) {
        if (!/NO-TOUCH|SETINFO/.test(name) && !NEWER_COMMANDS.includes(name.toLowerCase()))
          expect(commandsIn(theirs!), group).to.include(name)
      }
    }
  })
})

/** What `redis-cli help …` prints, without colours and carriage returns. */
async function help(cli: string, port: number, ...about: string[]): Promise<string> {
  const { stdout } = await run(cli, ['-p', String(port), 'help', ...about])
  return plain(stdout)
}

/** What redis-cli on a terminal shows behind these keys. */
async function hintFor(script: string, cli: string, port: number, typed: string): Promise<string> {
  const child = spawn(script, ['-qec', `stty cols 250; exec '${cli}' -p ${port}`, '/dev/null'], {
    env: { ...process.env, TERM: 'xterm', REDISCLI_HISTFILE: '/dev/null' },
    timeout: LIMIT_MS,
  })
  let shown = ''
  let hint: string | undefined
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (shown === '') child.stdin.write(typed)
    shown += text
    // A line is drawn anew with every key: prompt, what was typed, the hint; then the cursor goes back.
    const drawn = shown.slice(0, shown.lastIndexOf('\r')).split('\r').at(-1)!
    const [, behind] = plain(drawn).split(`> ${typed}`)
    if (behind === undefined || hint !== undefined) return
    hint = behind
    child.stdin.write('\x03')
  })
  await once(child, 'close')
  if (hint === undefined) throw new Error(`${typed} was never drawn: ${JSON.stringify(shown)}`)
  return hint
}

function plain(text: string): string {
  // eslint-disable-next-line no-control-regex -- that is what they are
  return text.replace(/\x1b\[[\d;]*[A-Za-z]|\r/g, '')
}
