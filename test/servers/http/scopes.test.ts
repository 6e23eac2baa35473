// Every route, by every method, in every spelling, with every token: who gets in.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { ROUTES } from '../../../src/servers/http/routes.ts'
import { RawConnection, type RawAnswer } from '../../support/raw-http.ts'
import { HTTP_ENTRIES, type RunningRondo, startRondo } from '../../support/rondo.ts'

/** Dialects that are off by default. */
const COMPAT = { COMPAT_APIS: 'upstash,upstash-get,ringg,lru,lru-get,cache-cluster' }
const DATA = 'data-token-0123456789abcdef'
const ADMIN = 'admin-token-0123456789abcdef'
const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND'] as const
type Method = (typeof METHODS)[number]
type Scope = 'open' | 'data' | 'status' | 'usage' | 'admin'
type Sender = 'nobody' | 'data' | 'admin'

/** Who opens what. A new route belongs here as well: the first test compares both tables. */
const EXPECTED: Record<string, Partial<Record<Method, Scope>>> = {
  '/api/v1/keys/:key': { GET: 'data', HEAD: 'data', PUT: 'data', DELETE: 'data' },
  '/api/v1/keys/:key/explain': { GET: 'data', HEAD: 'data' },
  '/api/v1/keys/:key/incr': { POST: 'data' },
  '/api/v1/keys/:key/append': { POST: 'data' },
  '/api/v1/keys/:key/getdel': { POST: 'data' },
  '/api/v1/keys/:key/expire': { POST: 'data' },
  '/api/v1/keys/:key/persist': { POST: 'data' },
  '/api/v1/keys': { GET: 'data', HEAD: 'data' },
  '/api/v1/mget': { POST: 'data' },
  '/api/v1/mset': { POST: 'data' },
  '/api/v1/mdelete': { POST: 'data' },
  '/api/v1/tags/:tag/invalidate': { POST: 'data' },
  '/api/v1/delete-jobs': { GET: 'data', HEAD: 'data', POST: 'data' },
  '/api/v1/delete-jobs/:id': { GET: 'data', HEAD: 'data', DELETE: 'data' },
  '/api/v1/command': { POST: 'data' },
  '/upstash': { POST: 'data' },
  '/upstash/pipeline': { POST: 'data' },
  '/upstash/multi-exec': { POST: 'data' },
  '/upstash/*': { GET: 'data', HEAD: 'data', POST: 'data' },
  '/cache/:key': { GET: 'data', HEAD: 'data', PUT: 'data', DELETE: 'data' },
  '/get': { GET: 'data', HEAD: 'data' },
  '/set': { GET: 'data', POST: 'data' },
  '/_cache': { GET: 'data', HEAD: 'data', PUT: 'data', DELETE: 'data' },
  '/save': { POST: 'admin' },
  '/load': { POST: 'admin' },
  '/nodes/save': { POST: 'admin' },
  '/repair': { GET: 'status', HEAD: 'status', POST: 'admin' },
  '/snapshots': { GET: 'status', HEAD: 'status', POST: 'admin' },
  '/snapshots/cancel': { POST: 'admin' },
  '/snapshots/:name': { DELETE: 'admin' },
  '/snapshots/:name/restore': { POST: 'admin' },
  '/status': { GET: 'status', HEAD: 'status' },
  '/members': { GET: 'status', HEAD: 'status' },
  '/members/join': { POST: 'admin' },
  '/members/:id': { DELETE: 'admin', PATCH: 'admin' },
  '/members/:id/leave': { POST: 'admin' },
  '/members/:id/replace': { POST: 'admin' },
  '/topology/changes': { POST: 'admin', DELETE: 'admin' },
  '/topology/recover': { POST: 'admin' },
  '/rebalance': { GET: 'status', HEAD: 'status' },
  '/rebalance/cancel': { POST: 'admin' },
  '/rebalance/pause': { POST: 'admin' },
  '/rebalance/resume': { POST: 'admin' },
  '/rebalance/throttle': { POST: 'admin' },
  '/cluster': { GET: 'status', HEAD: 'status' },
  '/hotkeys': { GET: 'usage', HEAD: 'usage' },
  '/metrics': { GET: 'status', HEAD: 'status' },
  '/': { GET: 'open', HEAD: 'open' },
  '/ping': { GET: 'open', HEAD: 'open' },
  '/livez': { GET: 'open', HEAD: 'open' },
  '/readyz': { GET: 'open', HEAD: 'open' },
}

const OPENS: Record<Scope, readonly Sender[]> = {
  open: ['nobody', 'data', 'admin'],
  data: ['data'],
  status: ['data', 'admin'],
  usage: ['admin'],
  admin: ['admin'],
}

type Meaning = 'the route' | 'nothing' | 'malformed'

/** How a path may be spelt, and what it then means. */
const SPELLINGS: Record<string, [spell: (path: string) => string, meaning: Meaning]> = {
  'the path': [(path) => path, 'the route'],
  'with a ?': [(path) => `${path}?`, 'the route'],
  'http://': [(path) => `http://localhost${path}`, 'the route'],
  'HTTPS:// with a port': [(path) => `HTTPS://localhost:8443${path}`, 'the route'],
  'another scheme': [(path) => `x://h${path}`, 'malformed'],
  'another scheme that begins like http': [(path) => `https+x://localhost${path}`, 'malformed'],
  'no scheme': [(path) => `//localhost${path}`, 'malformed'],
  'no slash in front': [(path) => `a${path}`, 'malformed'],
  'http:// and two slashes': [(path) => `http://localhost/${path}`, 'malformed'],
  'http:// and a user': [(path) => `http://u:p@localhost${path}`, 'malformed'],
  'a backslash in front': [(path) => `\\${path}`, 'malformed'],
  'a backslash behind': [(path) => `${path}\\`, 'malformed'],
  'a fragment': [(path) => `/ping#${path}`, 'malformed'],
  'a letter as an escape': [(path) => path.replace(/[a-z]/, escaped), 'nothing'],
  'the last letter as an escape': [(path) => path.replace(/[a-z](?=[^a-z]*$)/, escaped), 'nothing'],
  'a slash behind': [(path) => `${path}/`, 'nothing'],
  'a slash behind as an escape': [(path) => `${path}%2F`, 'nothing'],
  'a dot segment': [(path) => `/.${path}`, 'nothing'],
  'two dots': [(path) => `/ping/..${path}`, 'nothing'],
  'two dots as escapes': [(path) => `/ping/%2e%2e${path}`, 'nothing'],
  'in capitals': [(path) => path.toUpperCase(), 'nothing'],
}

/** A path of the route. */
const pathOf = (route: string) => route.replace(':key', 'k').replace(':name', 'k').replace('*', 'get/k')

const escaped = (letter: string) => `%${letter.charCodeAt(0).toString(16)}`

/** What a spelling means where it happens to be another path. */
function meaningOf(path: string, target: string, meaning: Meaning): { meaning: Meaning; route: string } {
  if (target === path) return { meaning: 'the route', route: path }
  if (target.startsWith('//')) return { meaning: 'malformed', route: path }
  // A key may be any segment, and what follows the prefix is one: empty, with an escape, in capitals.
  if (/^\/api\/v1\/keys\/[^/\\]*$/.test(target)) return { meaning: 'the route', route: '/api/v1/keys/:key' }
  if (/^\/cache\/[^/\\]+$/.test(target)) return { meaning: 'the route', route: '/cache/:key' }
  // Any segment is asked for as a name; one that is none gets an error of its own.
  if (/^\/snapshots\/(?!cancel\??$)[^/\\?]+\??$/.test(target))
    return { meaning: 'the route', route: '/snapshots/:name' }
  // Its clients join their URL with a slash too many.
  const [, joined] = /^(\/upstash(?:\/(?:pipeline|multi-exec))?)\/$/.exec(target) ?? []
  if (joined !== undefined) return { meaning: 'the route', route: joined }
  // Its segments are a command's arguments, whatever they are.
  if (/^\/upstash\/(?!(?:pipeline|multi-exec)\??$)[^\\]+$/.test(target))
    return { meaning: 'the route', route: '/upstash/*' }
  return { meaning, route: path }
}

function strictest(route: string): Scope {
  const scopes = Object.values(EXPECTED[route]!)
  return (['admin', 'usage', 'status', 'data', 'open'] as const).find((scope) => scopes.includes(scope))!
}

/** What the answer to a request has to be. */
function expected(meaning: Meaning, route: string, method: Method, sender: Sender): string {
  if (meaning === 'malformed') return 'malformed'
  if (meaning === 'nothing') return OPENS.status.includes(sender) ? 'not found' : 'unauthorized'
  const scope = EXPECTED[route]![method]
  if (!OPENS[scope ?? strictest(route)].includes(sender)) return 'unauthorized'
  return scope ? 'served' : 'not allowed'
}

/** What is malformed ends the connection, whether our parser of targets or Node's says so. */
function kindOf(answer: RawAnswer, method: Method): string {
  const { status, headers } = answer
  if (status === 400 && headers.connection === 'close') return 'malformed'
  if (status === 401) return 'unauthorized'
  if (status === 405) return 'not allowed'
  return status === 404 && method !== 'HEAD' && answer.json().code === 'NOT_FOUND' ? 'not found' : 'served'
}

function requestOf(method: Method, target: string, sender: Sender): string {
  const token = {
    nobody: '',
    data: `Authorization: Bearer ${DATA}\r\n`,
    admin: `Authorization: Bearer ${ADMIN}\r\n`,
  }
  const body = method === 'POST' ? '{}' : ''
  return (
    `${method} ${target} HTTP/1.1\r\nHost: localhost\r\n${token[sender]}Content-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\n\r\n${body}`
  )
}

let addresses = 0

/** All methods and tokens for one spelling of one path, on connections of an address of its own. */
async function walk(
  port: number,
  path: string,
  spelling: string,
  senders: readonly Sender[],
): Promise<string[]> {
  const [spell, spelt] = SPELLINGS[spelling]!
  const target = spell(pathOf(path))
  const { meaning, route } = meaningOf(pathOf(path), target, spelt)
  const localAddress = `127.1.${(addresses >> 8) & 255}.${addresses++ & 255}`
  const wrong: string[] = []
  let connection: RawConnection | null = null
  for (const method of METHODS) {
    for (const sender of senders) {
      connection ??= await RawConnection.open(port, { localAddress })
      connection.send(requestOf(method, target, sender))
      const answer = await connection.answer({ head: method === 'HEAD' })
      if (answer.headers.connection === 'close') {
        connection.destroy()
        connection = null
      }
      const should = expected(meaning, route === pathOf(path) ? path : route, method, sender)
      const is = kindOf(answer, method)
      // An answer to HEAD has no body to tell one refusal from another.
      const same = method === 'HEAD' && is === 'served' ? isHeadOf(should, answer.status) : is === should
      if (!same) wrong.push(`${method} ${target} by ${sender}: ${is} (${answer.status}), not ${should}`)
    }
  }
  connection?.destroy()
  return wrong
}

function isHeadOf(should: string, status: number): boolean {
  if (should === 'not found') return status === 404
  return should === 'served'
}

describe('the scopes of all routes', function () {
  this.timeout(60_000)

  it('are those that are expected of them, and no route lacks one', () => {
    const told = Object.fromEntries(
      ROUTES.map(({ path, calls }) => {
        const scopes: Partial<Record<Method, Scope>> = {}
        for (const [method, { scope, noHead }] of Object.entries(calls)) {
          scopes[method as Method] = scope
          if (method === 'GET' && !noHead) scopes.HEAD = scope
        }
        return [path, scopes]
      }),
    )
    expect(told).to.deep.equal(EXPECTED)
  })

  it('are told where the documents say what ADMIN_TOKEN opens', () => {
    const guarded = Object.entries(EXPECTED).flatMap(([path, scopes]) =>
      Object.values(scopes).some((scope) => scope === 'admin' || scope === 'usage')
        ? [path.split('/')[1]!]
        : [],
    )
    const documentOf = (name: string) => readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8')
    const security = documentOf('README.md').split('\n## Security\n')[1]!.split('\n## ')[0]!
    for (const text of [security, documentOf('SECURITY.md')])
      for (const name of new Set(guarded)) expect(text).to.include(`/${name}`)
  })

  for (const entry of HTTP_ENTRIES) {
    describe(`with both tokens (${entry})`, () => {
      let running: RunningRondo
      before(async () => (running = await startRondo({ ...COMPAT, DATA_TOKEN: DATA, ADMIN_TOKEN: ADMIN })))
      after(() => running.stop())

      for (const spelling of Object.keys(SPELLINGS)) {
        it(`hold for every route and method, spelt as ${spelling}`, async () => {
          const senders = ['nobody', 'data', 'admin'] as const
          const paths = Object.keys(EXPECTED)
          const wrong = await Promise.all(
            paths.map((path) => walk(running.ports[entry], path, spelling, senders)),
          )
          expect(wrong.flat()).to.deep.equal([])
        })
      }
    })
  }

  it('with one token only, what it guards stays guarded in every spelling', async () => {
    for (const [env, scope] of [
      [{ DATA_TOKEN: DATA }, 'data'],
      [{ ADMIN_TOKEN: ADMIN }, 'admin'],
    ] as const) {
      const running = await startRondo({ ...COMPAT, ...env })
      try {
        for (const entry of HTTP_ENTRIES) {
          for (const [path, calls] of Object.entries(EXPECTED)) {
            for (const [method, its] of Object.entries(calls) as [Method, Scope][]) {
              if (its !== scope && its !== 'status' && its !== 'usage') continue
              await allRefused(running.ports[entry], path, method)
            }
          }
        }
      } finally {
        await running.stop()
      }
    }
  })
})

/** By somebody without a token, in whatever spelling. */
async function allRefused(port: number, path: string, method: Method): Promise<void> {
  for (const [spelling, [spell]] of Object.entries(SPELLINGS)) {
    const target = spell(pathOf(path))
    const connection = await RawConnection.open(port)
    connection.send(requestOf(method, target, 'nobody'))
    const { status } = await connection.answer({ head: method === 'HEAD' })
    connection.destroy()
    expect(status, `${method} ${target} (${spelling})`).to.be.oneOf([400, 401])
  }
}
