// What COMMAND tells of the server's commands is what a real Redis tells of its own, but for the differences named here.
import { expect } from 'chai'
import { createClient } from 'redis-6'
import { ABOUT } from '../../../src/commands/docs.ts'
import { COMMANDS } from '../../../src/servers/resp/table.ts'
import { parseSyntax, usageOf } from '../../../src/commands/docs-syntax.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'
import { NEWER_COMMANDS, OLDER_ARITY } from '../../support/newer-commands.ts'

/** A reply's bytes as a tree: bulks are `$text`, status replies `+text`, numbers numbers; what holds others knows its mark. */
type Tree = string | number | null | Several
type Several = { mark: string; items: Tree[] }
/** Of a map, in either protocol. */
type Fields = Record<string, Tree>

const OWN = ['rondo']
/** Commands, and arguments of commands, that Redis 7.0 does not have. */
const NEWER_ARGUMENTS = ['bitop', 'set', ...Object.keys(OLDER_ARITY)]
/** What Redis 7.0 has no subcommand for; and those of which it tells no arguments, or names that have no meaning here. */
const NEWER = ['client|no-touch', 'client|setinfo']
const UNTOLD = ['command|getkeys', 'client|kill']
/** Redis's own past and inside; which argument came when; and, in key specs, remarks in English. */
const LEFT_OUT = ['complexity', 'history', 'doc_flags', 'deprecated_since', 'replaced_by']

describe('what COMMAND tells of commands', () => {
  let running: RunningRondo
  let redis: RedisServer
  let ours: RawResp
  let theirs: RawResp
  before(async () => {
    running = await startRondo()
    redis = await startRedis()
    ours = await RawResp.open(running.rondo.respServer.port)
    theirs = await RawResp.open(redis.port)
  })
  after(async () => {
    ours.close()
    theirs.close()
    await redis.stop()
    await running.stop()
  })
  const names = COMMANDS.slice(1).map(({ name }) => name)
  const both = async (...args: string[]) => {
    const [mine, redis] = await Promise.all([ours.ask(...args), theirs.ask(...args)])
    return [treeOf(mine), treeOf(redis)] as const
  }

  for (const protocol of ['2', '3']) {
    describe(`in RESP${protocol}`, () => {
      before(() => both('HELLO', protocol))

      for (const name of names.filter((name) => ![...OWN, ...NEWER_COMMANDS].includes(name))) {
        it(`INFO ${name}: arity, flags, keys, categories and key specs are those of Redis`, async () => {
          const [mine, redis] = await both('COMMAND', 'INFO', name)
          const [infoOfMine, infoOfRedis] = [itemsOf(mine)[0]!, itemsOf(redis)[0]!]
          const expected = comparableInfo(infoOfRedis)
          // Options that came later are optional.
          if (OLDER_ARITY[name] !== undefined) expected[1] = -OLDER_ARITY[name]
          expect(comparableInfo(infoOfMine)).to.deep.equal(expected)
          const subs = subcommandsOf(infoOfMine)
          const redisSubs = subcommandsOf(infoOfRedis)
          for (const [sub, info] of subs) {
            if (!NEWER.includes(sub)) {
              expect(comparableInfo(info), sub).to.deep.equal(comparableInfo(redisSubs.get(sub)!))
            }
          }
        })

        it(`DOCS ${name}: since, group and arguments are those of Redis`, async () => {
          const [mine, redis] = await both('COMMAND', 'DOCS', name)
          const [docs, redisDocs] = [fieldsOf(mine)[name]!, fieldsOf(redis)[name]!]
          const without = NEWER_ARGUMENTS.includes(name) ? ['arguments'] : []
          expect(comparableDocs(docs, without)).to.deep.equal(comparableDocs(redisDocs, without))
          const subs = fieldsOf(fieldsOf(docs).subcommands)
          const redisSubs = fieldsOf(fieldsOf(redisDocs).subcommands)
          for (const [sub, docs] of Object.entries(subs)) {
            if (NEWER.includes(sub) || UNTOLD.includes(sub)) continue
            expect(comparableDocs(docs), sub).to.deep.equal(comparableDocs(redisSubs[sub]!))
          }
        })
      }

      it('a subcommand is found by its full name, and nothing by half of one', async () => {
        for (const name of ['client|list', 'COMMAND|Count']) {
          const [mine, redis] = await both('COMMAND', 'INFO', name)
          expect(comparableInfo(itemsOf(mine)[0]!)).to.deep.equal(comparableInfo(itemsOf(redis)[0]!))
          const [docs, redisDocs] = await both('COMMAND', 'DOCS', name)
          const key = name.toLowerCase()
          expect(comparableDocs(fieldsOf(docs)[key]!)).to.deep.equal(
            comparableDocs(fieldsOf(redisDocs)[key]!),
          )
        }
        for (const name of ['client|', '|list', 'get|x', 'client|list|x', 'nosuch|list']) {
          for (const kind of ['INFO', 'DOCS']) {
            const [mine, redis] = await both('COMMAND', kind, name)
            expect(mine, `${kind} ${name}`).to.deep.equal(redis)
          }
        }
      })

      it('LIST has the names by category, by pattern and by module that Redis has, subcommands too', async () => {
        const known = new Set(itemsOf(treeOf(await ours.ask('COMMAND', 'LIST'))))
        const newer = [...NEWER, ...NEWER_COMMANDS].map((name) => `$${name}`)
        for (const filter of [
          ...['keyspace', 'read', 'write', 'string', 'bitmap', 'admin', 'fast', 'slow', 'dangerous'],
          ...['connection', 'transaction', 'CONNECTION', '@read', 'hash', 'sortedset', 'scripting', 'nosuch'],
        ].map((category) => ['ACLCAT', category])) {
          const [mine, redis] = await both('COMMAND', 'LIST', 'FILTERBY', ...filter)
          const comparable = itemsOf(mine).filter((name) => !newer.includes(name as string) && !isOwn(name))
          expect(comparable.sort(), filter.join(' ')).to.deep.equal(
            itemsOf(redis)
              .filter((name) => known.has(name))
              .sort(),
          )
        }
        const [mine, redis] = await both('COMMAND', 'LIST', 'FILTERBY', 'PATTERN', 'c[lo]*t*|[il]*')
        const listed = itemsOf(redis).filter((name) => known.has(name))
        expect(listed).to.include('$client|list')
        expect(itemsOf(mine).sort()).to.deep.equal(listed.sort())
        for (const wrong of [
          ['FILTERBY', 'MODULE', 'x'],
          ['FILTERBY', 'MODULE'],
          ['FILTERBY', 'NOSUCH', 'x'],
          ['FILTERBY'],
          ['FILTERBY', 'MODULE', 'x', 'y'],
        ]) {
          const [mine, redis] = await both('COMMAND', 'LIST', ...wrong)
          expect(mine, wrong.join(' ')).to.deep.equal(redis)
        }
      })
    })
  }

  it('INFO of newer commands is that of Redis 8.4, and of Valkey 9 for DELIFEQ', async () => {
    const told = async (name: string) => {
      const [, ...info] = comparableInfo(itemsOf(treeOf(await ours.ask('COMMAND', 'INFO', name)))[0]!)
      return JSON.stringify(info.map((tree) => (isTree(tree) ? plain(tree) : tree)))
    }
    const range = { type: '$range', spec: { lastkey: 0, keystep: 1, limit: 0 } }
    const at = (index: number) => ({ type: '$index', spec: { index } })
    const rest = ['*', '*', '*']
    const expected: Record<string, unknown[]> = {
      delex: [
        ...[-2, ['+write', '+fast'], 1, 1, 1, ['+@write', '+@string', '+@fast']],
        { flags: ['+RW', '+delete', '+variable_flags'], begin_search: at(1), find_keys: range },
      ],
      delifeq: [
        ...[3, ['+write'], 1, 1, 1, ['+@write', '+@string', '+@slow']],
        { flags: ['+RM', '+access', '+delete'], begin_search: at(1), find_keys: range },
      ],
      digest: [
        ...[2, ['+readonly', '+fast'], 1, 1, 1, ['+@read', '+@string', '+@fast']],
        { flags: ['+RO', '+access'], begin_search: at(1), find_keys: range },
      ],
      msetex: [
        ...[-4, ['+write', '+denyoom', '+movablekeys'], 0, 0, 0, ['+@write', '+@string', '+@slow']],
        {
          flags: ['+OW', '+update'],
          begin_search: at(1),
          find_keys: { type: '$keynum', spec: { keynumidx: 0, firstkey: 1, keystep: 2 } },
        },
      ],
    }
    await both('HELLO', '2')
    for (const [name, info] of Object.entries(expected)) {
      expect(await told(name)).to.equal(JSON.stringify([...info, ...rest]))
    }
  })

  it('GETKEYS finds as many keys as an argument says', async () => {
    const keys = (...args: string[]) => ours.ask('COMMAND', 'GETKEYS', ...args)
    expect(await keys('MSETEX', '2', 'a', '1', 'b', '2', 'NX')).to.equal('*2\r\n$1\r\na\r\n$1\r\nb\r\n')
    expect(await keys('ZUNIONSTORE', 'a', '2', 'b', 'c', 'WEIGHTS', '1', '2')).to.equal(
      '*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n',
    )
    for (const args of [
      ['4', 'a', '1', 'b', '2', 'NX'],
      ['0', 'a', '1'],
      ['x', 'a', '1'],
    ]) {
      expect(await keys('MSETEX', ...args)).to.equal('-ERR Invalid arguments specified for command\r\n')
    }
  })

  it('every command and subcommand says in a sentence what it does, and no sentence is about nothing', () => {
    expect(Object.keys(ABOUT).sort()).to.deep.equal([...names].sort())
    const subcommands = COMMANDS.flatMap(({ subcommands }) => Object.values(subcommands ?? {}))
    for (const { summary } of [...Object.values(ABOUT), ...subcommands]) {
      expect(summary).to.match(/^[A-Z].*[^.]\.$/)
    }
  })

  it('node-redis reads it: GET has a key', async () => {
    const client = createClient({ url: `redis://127.0.0.1:${running.rondo.respServer.port}` })
    await client.connect()
    const [get, ping] = await client.commandInfo(['get', 'ping'])
    expect(get).to.deep.include({ name: 'get', arity: 2, isKeyless: false })
    expect([...get!.categories]).to.deep.equal(['@read', '@string', '@fast'])
    expect(ping).to.deep.include({ isKeyless: true })
    client.destroy()
  })
})

describe('the text of arguments', () => {
  const syntax = 'key [TYPE kind(A|B value:integer)] [GET] [pair(start end [UNIT unit])...] more...'

  it('is read into a tree', () => {
    const leaf = { optional: false, multiple: false, parts: [] }
    expect(parseSyntax(syntax)).to.deep.equal([
      { ...leaf, name: 'key', type: 'key' },
      {
        ...leaf,
        name: 'kind',
        type: 'oneof',
        token: 'TYPE',
        optional: true,
        parts: [
          { ...leaf, name: 'a', type: 'pure-token', token: 'A' },
          { ...leaf, name: 'value', type: 'integer', token: 'B' },
        ],
      },
      { ...leaf, name: 'get', type: 'pure-token', token: 'GET', optional: true },
      {
        ...leaf,
        name: 'pair',
        type: 'block',
        optional: true,
        multiple: true,
        parts: [
          { ...leaf, name: 'start', type: 'integer' },
          { ...leaf, name: 'end', type: 'integer' },
          { ...leaf, name: 'unit', type: 'string', token: 'UNIT', optional: true },
        ],
      },
      { ...leaf, name: 'more', type: 'string', multiple: true },
    ])
  })

  it('is shown to people as Redis shows it', () => {
    expect(usageOf(parseSyntax(syntax))).to.equal(
      '<key> [TYPE (A|B <value>)] [GET] [<start> <end> [UNIT <unit>] [<start> <end> [UNIT <unit>] ...]] ' +
        '<more> [<more> ...]',
    )
    expect(usageOf(parseSyntax('state(ON|OFF)'))).to.equal('(ON|OFF)')
    expect(usageOf(parseSyntax('[GET pair(a b)...+]'))).to.equal('[GET <a> <b> [GET <a> <b> ...]]')
  })

  it('is refused when it has no meaning', () => {
    for (const bad of ['[key', 'key]', 'a(b', 'a(b|c d)', '(a)', '...', 'a(', '[]']) {
      expect(() => parseSyntax(bad), bad).to.throw(/at word/)
    }
  })
})

// ---- reading replies

function treeOf(bytes: string): Tree {
  let at = 0
  const next = (): Tree => {
    const lineEnd = bytes.indexOf('\r\n', at)
    const mark = bytes[at]!
    const text = bytes.slice(at + 1, lineEnd)
    at = lineEnd + 2
    if (mark === ':') return Number(text)
    if (mark === '_' || text === '-1') return null
    if (mark === '$') {
      at += Number(text) + 2
      return `$${bytes.slice(lineEnd + 2, at - 2)}`
    }
    if (mark === '+' || mark === '-') return mark + text
    const items = Array.from({ length: Number(text) * (mark === '%' ? 2 : 1) }, next)
    return { mark, items }
  }
  return next()
}

function isTree(tree: Tree): tree is Several {
  return typeof tree === 'object' && tree !== null
}

/** Maps (arrays in RESP2, whose first item is the name of a field) as objects. */
function plain({ mark, items }: Several): unknown {
  const value = (tree: Tree) => (isTree(tree) ? plain(tree) : tree)
  if (typeof items[0] !== 'string' || !items[0].startsWith('$'))
    return items.length > 0 ? items.map(value) : mark
  return Object.fromEntries(
    Object.entries(fieldsOf({ mark, items })).map(([name, tree]) => [name, value(tree)]),
  )
}

function itemsOf(tree: Tree | undefined): Tree[] {
  return typeof tree === 'object' && tree !== null ? tree.items : []
}

function fieldsOf(tree: Tree | undefined): Fields {
  const items = itemsOf(tree)
  return Object.fromEntries(
    items.flatMap((name, i) => (i % 2 === 0 ? [[(name as string).slice(1), items[i + 1]!]] : [])),
  )
}

/** The same kind of map, without some fields, its values made comparable. */
function mapped(
  tree: Tree,
  without: readonly string[],
  comparable = (_field: string, value: Tree) => value,
): Tree {
  const { mark, items } = tree as Several
  const kept = items.flatMap((name, i) => {
    if (i % 2 === 1) return []
    const field = (name as string).slice(1)
    return without.includes(field) ? [] : [name, comparable(field, items[i + 1]!)]
  })
  return { mark, items: kept }
}

/** Without tips, remarks on keys, and subcommands, of which there are fewer here. */
function comparableInfo(info: Tree): Tree[] {
  const [name, arity, flags, first, last, step, categories, tips, keySpecs, subcommands] = itemsOf(info)
  const specs = itemsOf(keySpecs).map((spec) => mapped(spec, ['notes']))
  const marks = [tips, keySpecs, subcommands].map((several) => (several as Several).mark)
  return [name!, arity!, flags!, first!, last!, step!, categories!, ...specs, ...marks]
}

function subcommandsOf(info: Tree): Map<string, Tree> {
  return new Map(itemsOf(itemsOf(info)[9]).map((sub) => [(itemsOf(sub)[0] as string).slice(1), sub]))
}

/** Without the sentence, which is ours, and the subcommands, of which there are fewer here. */
function comparableDocs(docs: Tree, without: readonly string[] = []): Tree {
  expect(fieldsOf(docs).summary).to.be.a('string')
  return mapped(docs, [...LEFT_OUT, ...without, 'summary', 'subcommands'], withoutSince)
}

function withoutSince(field: string, value: Tree): Tree {
  if (field !== 'arguments') return value
  const { mark, items } = value as Several
  return { mark, items: items.map((argument) => mapped(argument, ['since'], withoutSince)) }
}

function isOwn(name: Tree): boolean {
  return OWN.some((own) => (name as string).startsWith(`$${own}`))
}
