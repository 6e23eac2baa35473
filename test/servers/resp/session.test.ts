// What a client says of itself and asks of the server, next to a real Redis where that has the same.
import { Redis } from 'ioredis'
import { expect } from 'chai'
import { ScanCursors } from '../../../src/commands/keys/scan-cursor.ts'
import type { NodeState } from '../../../src/coordinator/api.ts'
import type { Coordinator } from '../../../src/coordinator/coordinator.ts'
import { RondoError } from '../../../src/core/errors.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'
import { NEWER_COMMANDS, OLDER_ARITY } from '../../support/newer-commands.ts'

const OK = '+OK\r\n'
const TOKEN = 'data-token-0123456789abcdef'
const ADMIN = 'admin-token-0123456789abcdef'
const WRONGPASS = '-WRONGPASS invalid username-password pair or user is disabled.\r\n'
const NOAUTH = '-NOAUTH Authentication required.\r\n'

const bulk = (text: string) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`

/** Lines whose replies must be those of Redis, byte for byte; each begins on a connection of its own. */
const LIKE_REDIS = [
  ['PING', 'PING hello', 'PING a b', 'ECHO x', 'ECHO', 'ECHO a b'],
  ['SELECT 0', 'SELECT x', 'SELECT 99', 'SELECT', 'SELECT 0 0'],
  [
    'HELLO 4',
    'HELLO 1',
    'HELLO x',
    'HELLO 3 FOO',
    'HELLO 3 SETNAME',
    'HELLO 2 AUTH a',
    'HELLO 3 AUTH other x',
  ],
  ['HELLO 3 SETNAME "a b"', 'CLIENT GETNAME', 'GET missing'],
  ['AUTH', 'AUTH x', 'AUTH default x', 'AUTH other x', 'AUTH a b c'],
  ['CLIENT', 'CLIENT NOSUCH', 'CLIENT NOSUCH x', 'CLIENT GETNAME', 'CLIENT GETNAME x', 'CLIENT ID x'],
  [
    'CLIENT SETNAME',
    'CLIENT SETNAME a b',
    'CLIENT SETNAME "a b"',
    'CLIENT SETNAME "a\\nb"',
    'CLIENT SETNAME "\\xff"',
  ],
  ['CLIENT SETNAME name', 'CLIENT GETNAME', 'CLIENT SETNAME ""', 'CLIENT GETNAME'],
  [
    'CLIENT LIST ID',
    'CLIENT LIST ID x',
    'CLIENT LIST ID 1 x',
    'CLIENT LIST ID 99999999999999999999',
    'CLIENT LIST ID 999999 -1',
    'CLIENT LIST TYPE master',
    'CLIENT LIST TYPE REPLICA',
    'CLIENT LIST TYPE slave',
    'CLIENT LIST TYPE pubsub',
    'CLIENT LIST TYPE nosuch',
    'CLIENT LIST TYPE ""',
    'CLIENT LIST TYPE',
    'CLIENT LIST TYPE normal x',
    'CLIENT LIST NOSUCH',
    'CLIENT LIST NOSUCH x',
  ],
  [
    'CLIENT KILL',
    'CLIENT KILL 192.0.2.1:5',
    'CLIENT KILL ID',
    'CLIENT KILL ID 0',
    'CLIENT KILL ID x',
    'CLIENT KILL ID -1',
    'CLIENT KILL ID 99999',
    'CLIENT KILL ID 99999 SKIPME',
    'CLIENT KILL ID 99999 SKIPME maybe',
    'CLIENT KILL USER nobody',
    'CLIENT KILL TYPE nosuch',
    'CLIENT KILL TYPE pubsub',
    'CLIENT KILL ADDR 192.0.2.1:1',
    'CLIENT KILL LADDR 192.0.2.1:1 SKIPME no',
    'CLIENT KILL NOSUCH x',
    'MULTI',
    'CLIENT KILL ID 99999',
    'CLIENT KILL 192.0.2.1:5',
    'EXEC',
  ],
  [
    'ROLE',
    'ROLE x',
    'ACL WHOAMI',
    'ACL USERS',
    'ACL CAT nosuch',
    'ACL CAT a b',
    'ACL NOSUCH x',
    'ACL LIST x',
  ],
  ['MODULE LIST', 'MODULE LIST x', 'MODULE NOSUCH', 'MODULE', 'LATENCY LATEST', 'LATENCY HISTORY x'],
  ['LATENCY RESET', 'LATENCY RESET command x', 'LATENCY HISTOGRAM nosuch', 'LATENCY NOSUCH', 'LATENCY'],
  ['SLOWLOG RESET', 'SLOWLOG LEN', 'SLOWLOG GET', 'SLOWLOG GET -1', 'SLOWLOG GET -2', 'SLOWLOG GET x'],
  ['SLOWLOG GET 1 2', 'SLOWLOG LEN x', 'MULTI', 'ROLE', 'ACL WHOAMI', 'SLOWLOG LEN', 'EXEC'],
  [
    'SET e 12345',
    'OBJECT ENCODING e',
    'SET e 012',
    'OBJECT ENCODING e',
    'SET e -9223372036854775808',
    'OBJECT ENCODING e',
  ],
  [`SET e ${'x'.repeat(44)}`, 'OBJECT ENCODING e', `SET e ${'x'.repeat(45)}`, 'OBJECT ENCODING e', 'DEL e'],
  ['OBJECT ENCODING none', 'OBJECT ENCODING', 'OBJECT', 'OBJECT NOSUCH x', 'MEMORY', 'MEMORY USAGE'],
  ['MEMORY USAGE none', 'MEMORY USAGE none SAMPLES 0', 'MEMORY USAGE none SAMPLES', 'MEMORY USAGE none x 1'],
  ['MULTI', 'SET e 1', 'OBJECT ENCODING e', 'DEL e', 'OBJECT ENCODING e', 'MEMORY USAGE e', 'EXEC'],
  ['CLIENT NO-EVICT ON', 'CLIENT NO-EVICT OFF', 'CLIENT NO-EVICT x', 'CLIENT NO-EVICT'],
  ['CLIENT REPLY', 'CLIENT REPLY x', 'CLIENT REPLY ON', 'CLIENT REPLY SKIP', 'PING unseen', 'PING seen'],
  [
    'CLIENT REPLY OFF',
    'PING unseen',
    'CLIENT REPLY SKIP',
    'PING unseen',
    'NOSUCH',
    'CLIENT REPLY ON',
    'PING seen',
  ],
  ['CLIENT REPLY SKIP', 'CLIENT REPLY SKIP', 'PING a', 'PING b', 'CLIENT REPLY ON'],
  ['CLIENT REPLY SKIP', '', 'PING seen', 'CLIENT REPLY SKIP', 'PING unseen', '', 'PING seen'],
  [
    'COMMAND NOSUCH',
    'COMMAND COUNT x',
    'COMMAND INFO nosuch',
    'COMMAND LIST x',
    'COMMAND LIST FILTERBY PATTERN g?t',
  ],
  [
    'COMMAND GETKEYS GET a',
    'COMMAND GETKEYS MSET a 1 b 2',
    'COMMAND GETKEYS PING x',
    'COMMAND GETKEYS NOSUCH x',
  ],
  [
    'COMMAND GETKEYS GET',
    'COMMAND GETKEYS GET a b',
    'COMMAND GETKEYS RENAME a b',
    'COMMAND GETKEYS DEL a b c',
  ],
  [
    'CONFIG',
    'CONFIG GET',
    'CONFIG GET save',
    'CONFIG GET SAVE',
    'CONFIG GET appendonly',
    'CONFIG GET nosuch',
    'CONFIG GET timeou?',
    'CONFIG HELP x',
  ],
  ['INFO nosuch', 'INFO nosuch nothing', 'DBSIZE x', 'TIME x', 'RANDOMKEY', 'RANDOMKEY x', 'DBSIZE'],
  [
    'SCAN',
    'SCAN x',
    'SCAN 0 COUNT',
    'SCAN 0 COUNT x',
    'SCAN 0 COUNT 0',
    'SCAN 0 COUNT -1',
    'SCAN 0 NOSUCH 1',
  ],
  [
    'SCAN 0',
    'SCAN 0 TYPE hash',
    'SCAN 0 TYPE nosuch',
    'SCAN 0 MATCH x COUNT 5',
    'SCAN 18446744073709551616',
    'SCAN ""',
  ],
  ['FLUSHALL x', 'FLUSHALL SYNC x', 'FLUSHALL', 'FLUSHDB ASYNC', 'FLUSHALL SYNC', 'KEYS', 'KEYS *'],
  ['GET missing', 'CONFIG GET save', 'COMMAND INFO nosuch', 'MGET a b', 'TTL a'],
  ['CLIENT SETNAME me', 'MULTI', 'RESET', 'CLIENT GETNAME', 'EXEC', 'PING'],
  [
    'MULTI',
    'CLIENT ID x',
    'EXEC',
    'MULTI',
    'CLIENT NOSUCH x',
    'EXEC',
    'MULTI',
    'CLIENT',
    'EXEC',
    'GET missing',
  ],
  ['MULTI', 'CONFIG GET', 'EXEC', 'MULTI', 'COMMAND GETKEYS', 'EXEC', 'MULTI', 'CONFIG GET save', 'EXEC'],
  ['MULTI', 'CLIENT SETNAME me', 'GET a', 'SELECT 99', 'CLIENT GETNAME', 'EXEC', 'CLIENT GETNAME'],
  [
    'MULTI',
    'DBSIZE',
    'RANDOMKEY',
    'SCAN 0',
    'SCAN x',
    'INFO nosuch',
    'GET a',
    'EXEC',
    'MULTI',
    'SCAN',
    'EXEC',
  ],
  ['EXEC x', 'MULTI', 'EXEC x', 'EXEC', 'MULTI', 'GET', 'EXEC x', 'EXEC'],
  ['QUIT'],
]

/** No floor can be decided: a flush deletes key by key, as while members change. */
function walkingFlush(coordinator: Coordinator): () => void {
  const flush = coordinator.flush.bind(coordinator)
  coordinator.flush = () => Promise.resolve(false)
  return () => void (coordinator.flush = flush)
}

describe('a session of the Redis protocol', () => {
  let running: RunningRondo
  let redis: RedisServer
  let port: number
  before(async () => {
    running = await startRondo()
    redis = await startRedis()
    port = running.rondo.respServer.port
  })
  after(async () => {
    await redis.stop()
    await running.stop()
  })
  const withClient = async <T>(run: (client: RawResp) => Promise<T>): Promise<T> => {
    const client = await RawResp.open(port)
    try {
      return await run(client)
    } finally {
      client.close()
    }
  }

  describe('as Redis answers', () => {
    for (const lines of LIKE_REDIS) {
      it(lines.join(' / '), async () => {
        const [ours, theirs] = await Promise.all([allReplies(port, lines), allReplies(redis.port, lines)])
        expect(ours).to.equal(theirs)
      })
    }
  })

  describe('HELLO', () => {
    it('tells protocol, version, id and role, as an array and as a map', () =>
      withClient(async (client) => {
        const id = (await client.ask('CLIENT', 'ID')).slice(1, -2)
        const rest = (proto: number) =>
          `${bulk('server')}${bulk('redis')}${bulk('version')}${bulk('7.0.15')}${bulk('proto')}:${proto}\r\n` +
          `${bulk('id')}:${id}\r\n${bulk('mode')}${bulk('standalone')}${bulk('role')}${bulk('master')}` +
          `${bulk('modules')}*0\r\n`
        expect(await client.ask('HELLO')).to.equal(`*14\r\n${rest(2)}`)
        expect(await client.ask('hello', '3', 'setname', 'me')).to.equal(`%7\r\n${rest(3)}`)
        expect(await client.ask('CLIENT', 'GETNAME')).to.equal(bulk('me'))
        expect(await client.ask('GET', 'missing')).to.equal('_\r\n')
        expect(await client.ask('HELLO', '2')).to.equal(`*14\r\n${rest(2)}`)
        expect(await client.ask('GET', 'missing')).to.equal('$-1\r\n')
      }))

    it('what was asked before it is answered in the protocol in which it was asked', () =>
      withClient(async (client) => {
        client.send(Buffer.concat([command('GETEX', 'm'), command('HELLO', '3'), command('GETEX', 'm')]))
        const [before, , after] = await client.replies(3)
        expect([before, after]).to.deep.equal(['$-1\r\n', '_\r\n'])
      }))
  })

  describe('CLIENT', () => {
    it('INFO tells of this connection, LIST of all', () =>
      withClient((client) =>
        withClient(async (other) => {
          await other.ask('CLIENT', 'SETNAME', 'other')
          await client.ask('CLIENT', 'SETNAME', 'me')
          await client.ask('CLIENT', 'SETINFO', 'LIB-NAME', 'lib(1)')
          await client.ask('CLIENT', 'SETINFO', 'lib-ver', '1.2')
          const { localPort } = client.socket
          for (const subcommand of ['info', 'list']) {
            const told = await client.ask('CLIENT', subcommand)
            expect(told).to.match(
              new RegExp(
                `\nid=\\d+ addr=127\\.0\\.0\\.1:${localPort} laddr=127\\.0\\.0\\.1:${port} fd=\\d+ name=me `,
              ),
            )
            expect(told)
              .to.match(/ resp=2 .*lib-name=lib\(1\) lib-ver=1\.2\n/)
              .and.include(`cmd=client|${subcommand}`)
            expect(told.includes(' name=other ')).to.equal(subcommand === 'list')
          }
        }),
      ))

    it('INFO has every field of Redis, in its order, and newer ones behind them', () =>
      withClient(async (client) => {
        const oracle = await RawResp.open(redis.port)
        const fieldsOf = async (one: RawResp) => {
          const [, line] = (await one.ask('CLIENT', 'INFO')).split('\r\n')
          return line!
            .trim()
            .split(' ')
            .map((field) => field.split('=', 2) as [string, string])
        }
        for (const one of [client, oracle]) {
          await one.ask('CLIENT', 'SETNAME', 'me')
          await one.ask('HELLO', '3')
          await one.ask('HELLO', '2')
        }
        const [ours, theirs] = [await fieldsOf(client), await fieldsOf(oracle)]
        oracle.close()
        expect(ours.map(([field]) => field)).to.deep.equal([
          ...theirs.map(([field]) => field),
          ...['watch', 'lib-name', 'lib-ver'],
        ])
        const differing = ['id', 'addr', 'laddr', 'fd', 'tot-mem']
        const seconds = ['age', 'idle']
        const buffers = ['qbuf', 'qbuf-free', 'argv-mem', 'rbs', 'rbp']
        const [mine, redisHas] = [Object.fromEntries(ours), Object.fromEntries(theirs)]
        for (const [field, value] of theirs) {
          if (buffers.includes(field)) expect(mine[field], field).to.equal('0')
          else if (seconds.includes(field)) expect(mine[field], field).to.match(/^\d+$/)
          else if (!differing.includes(field)) expect(mine[field], field).to.equal(value)
        }
        expect(redisHas.name).to.equal('me')
        expect(Number(mine['tot-mem'])).to.be.within(1024, 64 * 1024)
        await client.ask('WATCH', 'a', 'b')
        expect(await client.ask('CLIENT', 'INFO')).to.include(' watch=2 ')
      }))

    it('LIST ID and TYPE choose, each as often as Redis would', () =>
      withClient((client) =>
        withClient(async (other) => {
          const [id, otherId] = [await client.ask('CLIENT', 'ID'), await other.ask('CLIENT', 'ID')].map(
            (reply) => reply.slice(1, -2),
          )
          const ids = async (...filter: string[]) =>
            [...(await client.ask('CLIENT', 'LIST', ...filter)).matchAll(/^id=(\d+) /gm)].map(([, id]) => id)
          expect(await ids('ID', id!)).to.deep.equal([id])
          expect(await ids('ID', '999999')).to.deep.equal([])
          expect(await ids('id', otherId!, id!, id!)).to.deep.equal([otherId, id, id])
          expect(await ids('TYPE', 'normal')).to.include.members([id, otherId])
          expect(await ids('TYPE', 'master')).to.deep.equal([])
        }),
      ))

    it('names are bounded and printable, and a refused one changes nothing', () =>
      withClient(async (client) => {
        await client.ask('CLIENT', 'SETNAME', 'me')
        expect(await client.ask('CLIENT', 'SETNAME', 'n'.repeat(257))).to.match(
          /^-ERR Client names cannot be longer/,
        )
        expect(await client.ask('HELLO', '2', 'SETNAME', 'a b')).to.match(
          /^-ERR Client names cannot contain spaces/,
        )
        expect(await client.ask('CLIENT', 'SETINFO', 'LIB-NAME', 'a b')).to.match(
          /^-ERR lib-name cannot contain spaces/,
        )
        expect(await client.ask('CLIENT', 'SETINFO', 'NOSUCH', 'a')).to.equal(
          "-ERR Unrecognized option 'NOSUCH'\r\n",
        )
        expect(await client.ask('CLIENT', 'GETNAME')).to.equal(bulk('me'))
      }))

    it('what it does not have is an error that names it', () =>
      withClient(async (client) => {
        for (const name of ['MAINT_NOTIFICATIONS', 'constructor', '__proto__']) {
          expect(await client.ask('CLIENT', name, 'x')).to.equal(
            `-ERR unknown subcommand '${name}'. Try CLIENT HELP.\r\n`,
          )
        }
        expect(await client.ask('CLIENT', 'HELP'))
          .to.include('+SETNAME <connection-name>\r\n')
          .and.include('+HELP\r\n')
      }))

    it('REPLY OFF holds for what is answered later, and for commands on their way to the nodes', () =>
      withClient(async (client) => {
        client.send('SET r 1\r\nCLIENT REPLY OFF\r\nINCR r\r\nGET r\r\nCLIENT REPLY ON\r\nINCR r\r\n')
        expect(await client.replies(3)).to.deep.equal([OK, OK, ':3\r\n'])
        expect(await client.ask('PING')).to.equal('+PONG\r\n')
      }))
  })

  describe('COMMAND', () => {
    it('tells of the whole table: COUNT, LIST, INFO and DOCS agree', () =>
      withClient(async (client) => {
        const { commands } = running.rondo.respServer
        const list = commands.flatMap(({ name, subcommands }) => [
          name,
          ...Object.keys(subcommands ?? {}).map((subcommand) => `${name}|${subcommand}`),
        ])
        expect(await client.ask('COMMAND', 'COUNT')).to.equal(`:${commands.length}\r\n`)
        expect(await client.ask('COMMAND', 'LIST')).to.equal(`*${list.length}\r\n${list.map(bulk).join('')}`)
        expect(await client.ask('COMMAND')).to.equal(await client.ask('COMMAND', 'INFO'))
        expect((await client.ask('COMMAND', 'DOCS')).startsWith(`*${commands.length * 2}\r\n`)).to.equal(true)
        expect(await client.ask('COMMAND', 'DOCS', 'nosuch')).to.equal('*0\r\n')
      }))

    it('arity and keys of each command are those of Redis', async () => {
      const oracle = await RawResp.open(redis.port)
      const ours = await RawResp.open(port)
      const own = ['rondo']
      /** Redis 7.0 does not have them. */
      const infoOf = async (client: RawResp, name: string) => {
        const info = /^\*1\r\n\*10\r\n\$\d+\r\n.*\r\n:(-?\d+)\r\n\*[^:]*((?::-?\d+\r\n){3})/
        const [, arity, keys] = info.exec(await client.ask('COMMAND', 'INFO', name)) ?? []
        return { arity, keys }
      }
      for (const { name } of running.rondo.respServer.commands) {
        if ([...own, ...NEWER_COMMANDS].includes(name)) continue
        const info = await infoOf(ours, name)
        const older = OLDER_ARITY[name]
        if (older !== undefined) expect(info.arity, name).to.equal(String(-older))
        const expected = older === undefined ? info : { ...info, arity: String(older) }
        expect(expected, name).to.deep.equal(await infoOf(oracle, name))
      }
      oracle.close()
      ours.close()
    })

    it('ioredis, as it comes, is content', async () => {
      const client = new Redis(port, '127.0.0.1', { connectionName: 'me' })
      expect(await client.client('GETNAME')).to.equal('me')
      expect(await client.set('io', 'redis')).to.equal('OK')
      expect(await client.get('io')).to.equal('redis')
      client.disconnect()
    })
  })

  describe('CONFIG and INFO', () => {
    it('CONFIG GET: several names and patterns, each setting once', () =>
      withClient(async (client) => {
        expect(await client.ask('CONFIG', 'GET', 'save', 'SAV*', 'databases', 'proto-max-bulk-len')).to.equal(
          `*6\r\n${['save', '', 'databases', '16', 'proto-max-bulk-len', '8388608'].map(bulk).join('')}`,
        )
        expect(await client.ask('CONFIG', 'GET', 'maxmemory', 'maxmemory-policy')).to.equal(
          `*4\r\n${['maxmemory', String(4 * 64 * 1024 * 1024), 'maxmemory-policy', 'lru (in process)'].map(bulk).join('')}`,
        )
      }))

    it('CONFIG HELP, like CLIENT HELP and COMMAND HELP, tells what there is', () =>
      withClient(async (client) => {
        for (const [name, usage] of [
          ['CONFIG', 'GET <parameter> [<parameter> ...]'],
          ['CLIENT', 'REPLY (ON|OFF|SKIP)'],
          ['COMMAND', 'LIST [FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]'],
        ]) {
          expect(await client.ask(name!, 'HELP'))
            .to.match(new RegExp(`^\\*\\d+\r\n\\+${name} <subcommand> `))
            .and.include(`+${usage}\r\n+    `)
            .and.include('+HELP\r\n')
        }
      }))

    it('every other CONFIG is refused by name', () =>
      withClient(async (client) => {
        for (const name of ['SET', 'RESETSTAT', 'REWRITE', 'NOSUCH']) {
          expect(await client.ask('CONFIG', name, 'save', 'x')).to.match(
            new RegExp(`^-ERR CONFIG ${name} is not offered: `),
          )
        }
      }))

    it('INFO has what clients look for, all of it or by section', () =>
      withClient(async (client) => {
        const all = await client.ask('INFO')
        for (const line of [
          'redis_version:7.0.15',
          'loading:0',
          'role:master',
          `tcp_port:${port}`,
          'rondo_version:0.1.0',
        ]) {
          expect(all).to.include(`\r\n${line}\r\n`)
        }
        expect(all).to.match(/\r\nconnected_clients:[1-9]\d*\r\n/)
        const two = await client.ask('INFO', 'replication', 'CLIENTS')
        expect(two.match(/# \w+/g)).to.deep.equal(['# Clients', '# Replication'])
        expect(await client.ask('INFO', 'everything'))
          .to.include('# Server')
          .and.include('# Keyspace')
      }))

    it('INFO keyspace counts, by name and with all the others', () =>
      withClient(async (client) => {
        await client.ask('FLUSHALL')
        expect(await client.ask('INFO', 'keyspace')).to.equal(bulk('# Keyspace\r\n'))
        await client.ask('MSET', 'a', '1', 'b', '2', 'c', '3')
        expect(await client.ask('INFO', 'keyspace')).to.equal(
          bulk('# Keyspace\r\ndb0:keys=3,expires=nan\r\n'),
        )
        expect(await client.ask('INFO')).to.match(/# Keyspace\r\ndb0:keys=3,expires=nan\r\n\r\n$/)
      }))

    it('TIME is cluster time', () =>
      withClient(async (client) => {
        const [, seconds, micros] = /^\*2\r\n\$\d+\r\n(\d+)\r\n\$\d+\r\n(\d+)\r\n$/.exec(
          await client.ask('TIME'),
        )!
        const told = Number(seconds) * 1000 + Number(micros) / 1000
        expect(told).to.be.closeTo(running.rondo.coordinator.nowMs(), 500)
      }))
  })

  describe('all keys', () => {
    before(() =>
      withClient(async (client) => {
        await client.ask('FLUSHALL')
        for (let i = 0; i < 500; i++) client.send(command('SET', `key:${i}`, 'v'))
        await client.replies(500)
      }),
    )

    const scanAll = (...options: string[]) =>
      withClient(async (client) => {
        const keys: string[] = []
        let cursor = '0'
        do {
          const reply = await client.ask('SCAN', cursor, ...options)
          const [next, ...page] = [...reply.matchAll(/\$\d+\r\n(.*)\r\n/g)].map((match) => match[1]!)
          keys.push(...page)
          cursor = next!
          expect(BigInt(cursor) < 2n ** 53n, cursor).to.equal(true)
        } while (cursor !== '0')
        return keys.sort()
      })
    const written = Array.from({ length: 500 }, (_, i) => `key:${i}`).sort()

    it('SCAN tells each key once, whatever COUNT is, with cursors that any client can read', async () => {
      for (const count of ['1', '7', '100', '100000']) {
        expect(await scanAll('COUNT', count), count).to.deep.equal(written)
      }
      expect(await scanAll()).to.deep.equal(written)
    })

    it('SCAN MATCH and TYPE choose', async () => {
      expect(await scanAll('MATCH', 'key:1?', 'COUNT', '50')).to.deep.equal(
        written.filter((key) => /^key:1.$/.test(key)),
      )
      expect(await scanAll('TYPE', 'STRING')).to.deep.equal(written)
      expect(await scanAll('TYPE', 'hash')).to.deep.equal([])
    })

    it('a cursor of one coordinator is good at another', async () => {
      await withClient(async (client) => {
        const reply = await client.ask('SCAN', '0', 'COUNT', '50')
        const cursor = /\$\d+\r\n(\d+)\r\n/.exec(reply)![1]!
        const other = cursorsOf(4, running.rondo.coordinator.epoch)
        expect(other.toCursor(cursor)).to.match(/^\d+:\d+-\d+$/)
        expect(other.toNumber(other.toCursor(cursor)!)).to.equal(cursor)
      })
    })

    it('DBSIZE is exact, KEYS matches, RANDOMKEY is one of them', () =>
      withClient(async (client) => {
        expect(await client.ask('DBSIZE')).to.equal(':500\r\n')
        expect(await client.ask('KEYS', 'key:49?')).to.match(/^\*10\r\n/)
        const seen = new Set<string>()
        for (let i = 0; i < 20; i++) seen.add((await client.ask('RANDOMKEY')).split('\r\n')[1]!)
        expect([...seen].every((key) => written.includes(key))).to.equal(true)
        expect(seen.size).to.be.above(3)
      }))

    it('they see what was pipelined before them, and what comes behind them sees what they did', () =>
      withClient(async (client) => {
        client.send(
          Buffer.concat(
            [
              ['SET', 'one more', 'v'],
              ['DBSIZE'],
              ['DEL', 'one more'],
              ['DBSIZE'],
              ['FLUSHALL'],
              ['SET', 'key:1', 'again'],
              ['DBSIZE'],
              ['GET', 'key:1'],
              ['GET', 'key:2'],
            ].map((args) => command(...args)),
          ),
        )
        expect(await client.replies(9)).to.deep.equal([
          OK,
          ':501\r\n',
          ':1\r\n',
          ':500\r\n',
          OK,
          OK,
          ':1\r\n',
          bulk('again'),
          '$-1\r\n',
        ])
      }))

    it('FLUSHALL that cannot delete everything says how much it could not', () =>
      withClient(async (client) => {
        await client.ask('MSET', 'a', '1', 'b', '2', 'c', '3')
        const { coordinator } = running.rondo
        const restore = walkingFlush(coordinator)
        const remove = coordinator.remove.bind(coordinator)
        coordinator.remove = (key, done, level, before) => {
          if (key.toString() !== 'b') remove(key, done, level, before)
          else done.failed(new RondoError('QUORUM_NOT_MET', 'Too few replicas.', { outcome: 'unknown' }))
        }
        try {
          expect(await client.ask('FLUSHALL')).to.match(
            /^-UNKNOWN Too few replicas\. \(3 keys were deleted, 1 were not, or may not have been\)\r\n$/,
          )
        } finally {
          coordinator.remove = remove
          restore()
        }
        expect(await client.ask('KEYS', '*')).to.equal(`*1\r\n${bulk('b')}`)
      }))

    describe('in the middle of a listing', () => {
      /** From the second page on, `then` is called before each of them. */
      async function withSecondPage(then: () => Promise<void>, run: () => Promise<unknown>) {
        const { coordinator } = running.rondo
        const list = coordinator.list.bind(coordinator)
        let pages = 0
        coordinator.list = async (request) => {
          const isLater = request.cursor !== '0'
          if (isLater) await then()
          const page = await list({ ...request, count: 100 })
          pages++
          return page
        }
        try {
          await run()
        } finally {
          coordinator.list = list
        }
        expect(pages).to.be.above(0)
      }
      const fill = (client: RawResp) =>
        client.ask('MSET', ...Array.from({ length: 1000 }, (_, i) => [`middle:${i}`, 'v']).flat())

      it('FLUSHALL is carried out to the end, though its client has closed the connection', () =>
        withClient(async (client) => {
          await client.ask('FLUSHALL')
          await fill(client)
          const { coordinator } = running.rondo
          const restore = walkingFlush(coordinator)
          const leaving = await RawResp.open(port)
          const id = (await leaving.ask('CLIENT', 'ID')).slice(1, -2)
          const flushed = new Promise<void>((resolve) => {
            const onFlushed = coordinator.onFlushed.bind(coordinator)
            coordinator.onFlushed = (database) => {
              coordinator.onFlushed = onFlushed
              onFlushed(database)
              resolve()
            }
          })
          const killed: string[] = []
          const leave = async () => void killed.push(await client.ask('CLIENT', 'KILL', 'ID', id))
          await withSecondPage(leave, async () => {
            leaving.send('FLUSHALL\r\n')
            await flushed
          })
          restore()
          expect(killed[0]).to.equal(':1\r\n')
          leaving.close()
          expect(await client.ask('RONDO', 'DBSIZE', 'EXACT')).to.equal(':0\r\n')
        }))

      it('FLUSHALL that cannot list the rest says so, in its reply and in the log, and is not complete', () =>
        withClient(async (client) => {
          await client.ask('FLUSHALL')
          await fill(client)
          const fail = () => Promise.reject(new RondoError('UNAVAILABLE', 'Node a cannot be listed.'))
          const restore = walkingFlush(running.rondo.coordinator)
          await withSecondPage(fail, async () =>
            expect(await client.ask('FLUSHALL')).to.match(
              /^-NOREPLICAS Node a cannot be listed\. \(\d+ keys were deleted, 0 were not, or may not have been, and the rest was not reached\)\r\n$/,
            ),
          )
          restore()
          expect(await client.ask('DBSIZE')).not.to.equal(':0\r\n')
          const lines = running.logLines().filter(({ msg }) => msg.startsWith('FLUSHALL '))
          expect(lines.at(-1)!.msg).to.match(
            /^FLUSHALL has stopped before its end: \d+ keys deleted, 0 failed, in 0 s; send it again\. Node a cannot be listed\.$/,
          )
          expect(await client.ask('FLUSHALL')).to.equal(OK)
        }))

      it('KEYS has what it has found in the account of its client, and is refused when memory is used up', () =>
        withClient(async (client) => {
          await client.ask('FLUSHALL')
          await fill(client)
          await client.ask('CLIENT', 'SETNAME', 'keys')
          const { account } = [...running.rondo.respServer.connections].find(({ name }) => name === 'keys')!
          const before = account.bytes
          let most = 0
          const look = () => Promise.resolve(void (most = Math.max(most, account.bytes - before)))
          await withSecondPage(look, async () => {
            expect(await client.ask('KEYS', '*')).to.match(/^\*1000\r\n/)
          })
          expect(most).to.be.above(50_000)
          Object.defineProperty(account, 'isRefused', { value: true, configurable: true })
          expect(await client.ask('KEYS', '*')).to.match(/^-TRYAGAIN .*MAX_CLIENT_MEMORY/)
          Reflect.deleteProperty(account, 'isRefused')
          expect(account.bytes).to.equal(before)
        }))
    })
  })

  describe('RONDO', () => {
    it('CONSISTENCY sets and tells the levels of this connection only', () =>
      withClient(async (client) => {
        const levels = (read: string, write: string) =>
          `*4\r\n${['read', read, 'write', write].map(bulk).join('')}`
        expect(await client.ask('RONDO', 'CONSISTENCY')).to.equal(levels('one', 'one'))
        expect(await client.ask('RONDO', 'CONSISTENCY', 'quorum')).to.equal(OK)
        expect(await client.ask('RONDO', 'CONSISTENCY', 'READ', 'ALL')).to.equal(OK)
        expect(await client.ask('RONDO', 'CONSISTENCY')).to.equal(levels('all', 'quorum'))
        expect(await client.ask('RONDO', 'CONSISTENCY', 'WRITE')).to.equal(bulk('quorum'))
        expect(await client.ask('RONDO', 'CONSISTENCY', 'WRITE', 'default')).to.equal(OK)
        expect(await client.ask('RONDO', 'CONSISTENCY')).to.equal(levels('all', 'one'))
        expect(await client.ask('RONDO', 'CONSISTENCY', 'most')).to.match(
          /^-ERR the consistency level must be/,
        )
        expect(await client.ask('RONDO', 'CONSISTENCY', 'READ', 'one', 'x')).to.equal('-ERR syntax error\r\n')
        await client.ask('RESET')
        expect(await client.ask('RONDO', 'CONSISTENCY')).to.equal(levels('one', 'one'))
        await withClient(async (other) => {
          expect(await other.ask('RONDO', 'CONSISTENCY')).to.equal(levels('one', 'one'))
        })
      }))

    it('EXPLAIN tells the replicas of a key and what they hold, STATUS the nodes', () =>
      withClient(async (client) => {
        await client.ask('RONDO', 'CONSISTENCY', 'all')
        await client.ask('SET', 'explained', 'value')
        const told = await client.ask('RONDO', 'EXPLAIN', 'explained')
        expect(told.match(/\$11\r\nvalue_bytes\r\n:5\r\n/g)).to.have.length(3)
        expect(told).to.include(bulk('replica_set')).and.include(bulk('primary'))
        expect(await client.ask('RONDO', 'EXPLAIN', '__rondo:node')).to.match(/^-ERR Keys that begin with/)
        const status = await client.ask('RONDO', 'STATUS')
        for (let i = 1; i <= 4; i++) expect(status).to.include(bulk(`memory-${i}`))
        expect(await client.ask('RONDO', 'NOSUCH')).to.equal(
          "-ERR unknown subcommand 'NOSUCH'. Try RONDO HELP.\r\n",
        )
        expect(await client.ask('RONDO', 'HELP')).to.include('+EXPLAIN <key>\r\n')
      }))
  })

  it('RESET: as if it had just come', () =>
    withClient(async (client) => {
      await client.ask('HELLO', '3', 'SETNAME', 'me')
      await client.ask('WATCH', 'reset')
      await client.ask('MULTI')
      client.send(Buffer.concat([command('SET', 'x', 'y'), command('RESET')]))
      expect(await client.replies(2)).to.deep.equal(['+QUEUED\r\n', '+RESET\r\n'])
      expect(await client.ask('CLIENT', 'GETNAME')).to.equal('$-1\r\n')
      expect(await client.ask('EXEC')).to.equal('-ERR EXEC without MULTI\r\n')
      expect(await client.ask('GET', 'x')).to.equal('$-1\r\n')
    }))

  describe('metrics', () => {
    it('every command is counted under its name, errors too, and buckets add up', async () => {
      await withClient(async (client) => {
        for (let i = 0; i < 3; i++) await client.ask('STRLEN', 'x')
        await client.ask('STRLEN')
        await client.ask('NOSUCH')
        const text = await (await fetch(`http://127.0.0.1:${running.ports.socket}/metrics`)).text()
        const count = (command: string) =>
          Number(
            new RegExp(
              `^rondo_resp_command_duration_seconds_count\\{command="${command}"} (\\d+)$`,
              'm',
            ).exec(text)?.[1],
          )
        expect(count('strlen')).to.equal(4)
        expect(count('unknown')).to.be.above(0)
        expect(text).to.match(/^rondo_resp_command_errors_total\{command="strlen"} 1$/m)
        expect(text).to.match(/^rondo_resp_command_duration_seconds_bucket\{le="\+Inf",command="strlen"} 4$/m)
        expect(text).to.match(/^rondo_resp_connections [1-9]/m)
        expect(text).not.to.include('nosuch')
      })
    })
  })
})

describe('passwords of the Redis protocol', () => {
  let running: RunningRondo
  let redis: RedisServer
  let port: number
  beforeEach(async () => {
    running = await startRondo({ DATA_TOKEN: TOKEN, ADMIN_TOKEN: ADMIN })
    redis = await startRedis({ args: ['--requirepass', TOKEN] })
    port = running.rondo.respServer.port
  })
  afterEach(async () => {
    await redis.stop()
    await running.stop()
  })

  for (const lines of [
    ['GET a', `AUTH ${TOKEN}`, 'GET a'],
    [`AUTH default ${TOKEN}`, 'PING'],
    [
      'AUTH wrong',
      'GET a',
      `AUTH other ${TOKEN}`,
      'GET a',
      'AUTH default wrong',
      `AUTH ${TOKEN.toUpperCase()}`,
    ],
    ['HELLO 3', 'HELLO', 'HELLO 3 AUTH default wrong', 'GET a', `HELLO 4 AUTH default ${TOKEN}`, 'GET a'],
    [`AUTH ${TOKEN}`, 'AUTH wrong', 'GET a', 'RESET', 'GET a'],
    ['AUTH', 'AUTH a b c', 'RESET x', 'QUIT'],
    ['MULTI', 'GET a', 'EXEC', 'DISCARD', `AUTH ${TOKEN}`, 'EXEC'],
  ]) {
    it(`as Redis answers: ${lines.join(' / ')}`, async () => {
      const [ours, theirs] = await Promise.all([allReplies(port, lines), allReplies(redis.port, lines)])
      expect(ours).to.equal(theirs)
    })
  }

  it('HELLO 3 AUTH default <password> opens everything at once', async () => {
    const client = await RawResp.open(port)
    expect(await client.ask('HELLO', '3', 'AUTH', 'default', TOKEN, 'SETNAME', 'me')).to.match(/^%7\r\n/)
    expect(await client.ask('CLIENT', 'GETNAME')).to.equal(bulk('me'))
    client.send(command('SET', 'large', Buffer.alloc(100_000)))
    expect(await client.reply(), 'the limits for unauthenticated clients are lifted').to.equal(OK)
    client.close()
  })

  it('no command is carried out before, not one of them', async () => {
    const client = await RawResp.open(port)
    const open = ['hello', 'auth', 'quit', 'reset']
    for (const { name, arity } of running.rondo.respServer.commands) {
      if (open.includes(name)) continue
      for (const count of [1, Math.abs(arity), Math.abs(arity) + 2]) {
        const args = Array.from({ length: count - 1 }, () => 'a')
        const wrapped = `-EXECABORT Transaction discarded because of: ${NOAUTH.slice(1)}`
        expect(await client.ask(name, ...args), name).to.equal(name === 'exec' ? wrapped : NOAUTH)
      }
    }
    expect(await client.ask('AUTH', TOKEN)).to.equal(OK)
    expect(await client.ask('EXISTS', 'a')).to.equal(':0\r\n')
    client.close()
  })

  it('clients without a token change neither the slow log nor the statistics of commands', async () => {
    const client = await RawResp.open(port)
    expect(await client.ask('AUTH', TOKEN)).to.equal(OK)
    const stats = async () => (await client.ask('INFO', 'commandstats')).match(/^cmdstat_(?!info).*$/gm)
    const before = await stats()
    expect(before!.join()).to.match(/^cmdstat_auth:calls=1,.*failed_calls=0\r?$/)
    const other = await RawResp.open(port)
    // From the second on, the replies are delayed for longer than a command that is slow.
    for (let i = 0; i < 4; i++) expect(await other.ask('AUTH', 'default', 'wrong')).to.equal(WRONGPASS)
    for (const name of ['GET', 'SLOWLOG', 'NOSUCH', 'HELLO'])
      expect(await other.ask(name, ...(name === 'HELLO' ? ['3'] : ['a']))).to.match(/^-NOAUTH /)
    expect(await client.ask('AUTH', 'wrong')).to.equal(WRONGPASS)
    expect(await client.ask('SLOWLOG', 'GET')).not.to.match(/\r\n(auth|get|hello|unknown)\r\n/)
    expect((await stats())!.filter((line) => !line.startsWith('cmdstat_slowlog'))).to.deep.equal(before)
    const errors = await client.ask('INFO', 'errorstats')
    expect(errors)
      .to.include('errorstat_WRONGPASS:count=5\r\n')
      .and.to.include('errorstat_NOAUTH:count=4\r\n')
    for (const one of [client, other]) one.close()
  })

  it('the token of administrators opens no keys', async () => {
    const client = await RawResp.open(port)
    expect(await client.ask('AUTH', ADMIN)).to.equal(WRONGPASS)
    client.close()
  })

  it('a password is in no log line and no answer', async () => {
    const client = await RawResp.open(port)
    const told = [
      await client.ask('AUTH', TOKEN),
      await client.ask('INFO'),
      await client.ask('CLIENT', 'INFO'),
    ]
    told.push(await client.ask('CONFIG', 'GET', '*'), await client.ask('RONDO', 'STATUS'))
    expect(told.join('') + running.logText()).not.to.include(TOKEN)
    client.close()
  })
})

const cursorsOf = (nodes: number, epoch = 1) => {
  return new ScanCursors({ nodes: new Array<NodeState>(nodes), epoch }, Math.random)
}

describe('ScanCursors', () => {
  it('every cursor of the listing comes back as it was, in 63 bits, and small ones stay small', () => {
    for (const nodes of [1, 2, 4, 9, 64]) {
      for (const cursor of ['0', '1:0-1', '1:0-4294967295', '1:0-5.0', '1:0-0.0']) {
        const cursors = cursorsOf(nodes)
        const number = cursors.toNumber(cursor)
        expect(BigInt(number) < 2n ** 62n, number).to.equal(true)
        expect(cursorsOf(nodes).toCursor(number), `${cursor} of ${nodes}`).to.equal(cursor)
      }
    }
    const cursors = cursorsOf(4)
    for (const cursor of ['1:3-17.0', '1:3-17.0.1.2.3', '1:1-0', '1:2-1125899906842.3', '1:0-9.3.0']) {
      expect(cursorsOf(4).toCursor(cursors.toNumber(cursor))).to.equal(cursor)
    }
    expect(Number(cursors.toNumber('1:3-1000000'))).to.be.below(2 ** 35)
  })

  it('after a change of the nodes a cursor starts over', () => {
    const number = cursorsOf(4, 7).toNumber('7:3-1000')
    expect(cursorsOf(4, 7).toCursor(number)).to.equal('7:3-1000')
    expect(cursorsOf(5, 8).toCursor(number)).to.equal('0')
    // A page that was listed before the change and is sent after it.
    const cursors = cursorsOf(5, 8)
    expect(cursors.toCursor(cursors.toNumber('7:3-1000'))).to.equal('7:3-1000')
  })

  it('what does not fit is kept here, a bounded number of them; forgotten ones are refused', () => {
    const cursors = cursorsOf(64)
    const long = `1:3-18446744073709551615${Array.from({ length: 20 }, (_, i) => `.${i}`).join('')}`
    const number = cursors.toNumber(long)
    expect(BigInt(number) < 2n ** 63n).to.equal(true)
    expect(cursors.toCursor(number)).to.equal(long)
    expect(cursorsOf(64).toCursor(number), 'elsewhere nobody knows it').to.equal(null)
    for (let i = 0; i < 1000; i++) cursors.toNumber(`${long}.${i}`)
    expect(cursors.toCursor(number)).to.equal(null)
    for (const bad of ['-1', '1.5', ' 1', '0x1', '18446744073709551616', '1'.repeat(21)]) {
      expect(cursors.toCursor(bad), bad).to.equal(null)
    }
  })
})

/** What a server answers to these lines until it closes; a QUIT ends them. */
async function allReplies(port: number, lines: readonly string[]): Promise<string> {
  const client = await RawResp.open(port)
  client.send([...lines, 'QUIT'].map((line) => `${line}\r\n`).join(''))
  return client.rest()
}
