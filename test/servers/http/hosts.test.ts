// Under which names the server may be called, and for whose pages.
import { expect } from 'chai'
import { Hosts } from '../../../src/servers/http/hosts.ts'
import { expectProblem } from '../../support/problem.ts'
import { call as callPort, rawRequest } from '../../support/raw-http.ts'
import { HTTP_ENTRIES, type RunningRondo, startRondo } from '../../support/rondo.ts'

const DATA = 'data-token-0123456789abcdef'
const ADMIN = 'admin-token-0123456789abcdef'
const PATHS = ['/', '/ping', '/status', '/api/v1/keys', '/repair']
const LOOPBACK = ['localhost', 'LOCALHOST:1', '127.0.0.1:8080', '127.9.9.9', '[::1]:8080']
/** Names that no other page can point at us. */
const FIXED = [
  '10.0.0.7:8080',
  '192.168.1.1',
  '0.0.0.0',
  '[fd00::1]:8080',
  '[::ffff:127.0.0.1]',
  'rondo:8080',
  'rondo',
]
const DOTTED = [
  'evil.example',
  'evil.example:8080',
  'rebound.evil.example:80',
  'localhost.evil.example',
  'a.localhost',
]
const BROKEN = [
  '',
  'localhost@evil',
  'localhost, evil.example',
  'localhost evil',
  'rondo:',
  '[::1',
  'rondo:123456',
]
const FOREIGN_PAGE = [
  { 'Sec-Fetch-Site': 'cross-site' },
  { 'Sec-Fetch-Site': 'same-site' },
  { 'Sec-Fetch-Site': 'what is not known yet' },
  { Origin: 'https://evil.example' },
  { Origin: 'null' },
  { Origin: 'http://localhost:3000' },
  { Origin: 'http://localhost' },
  { Origin: 'http://localhost:8080.evil.example' },
  { Origin: 'http://evil.example/localhost:8080' },
  { Origin: 'file://localhost:8080' },
  { Origin: 'https://evil.example', 'Sec-Fetch-Site': 'same-origin' },
] as const

async function withRondo(env: Record<string, string>, run: (running: RunningRondo) => Promise<void>) {
  const running = await startRondo(env)
  try {
    await run(running)
  } finally {
    await running.stop()
  }
}

/** The hosts that are refused, on both ways in and all paths. */
async function refused(
  running: RunningRondo,
  hosts: readonly string[],
  headers = '',
  paths: readonly string[] = PATHS,
): Promise<string[]> {
  const found = new Map<string, Set<boolean>>()
  for (const entry of HTTP_ENTRIES) {
    for (const host of hosts) {
      for (const path of paths) {
        const bytes = `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${headers}\r\n`
        const answer = await rawRequest(running.ports[entry], bytes)
        if (answer.status === 403) expectProblem(answer, 403, 'FORBIDDEN')
        else expect(answer.status, `${host} ${path}`).to.equal(200)
        found.set(host, (found.get(host) ?? new Set()).add(answer.status === 403))
      }
    }
  }
  for (const [host, answers] of found) expect(answers.size, `${host}: one answer everywhere`).to.equal(1)
  return hosts.filter((host) => found.get(host)!.has(true))
}

describe('host names', () => {
  const all = [...LOOPBACK, ...FIXED, ...DOTTED, ...BROKEN]

  it('without tokens: loopback only', () =>
    withRondo({}, async (running) => {
      expect(await refused(running, all)).to.deep.equal([...FIXED, ...DOTTED, ...BROKEN])
    }))

  it('without tokens, listed names too', () =>
    withRondo({ ALLOWED_HOSTS: 'cache.example,*.corp.example,box,10.0.0.7' }, async (running) => {
      const listed = [
        'cache.example',
        'Cache.Example:8080',
        'a.corp.example',
        'a.b.corp.example:1',
        'box',
        '10.0.0.7',
      ]
      expect(await refused(running, [...LOOPBACK, ...listed])).to.deep.equal([])
      const others = [
        'corp.example',
        'xcorp.example',
        'x.cache.example',
        'cache.example.evil.example',
        'rondo',
        '10.0.0.8',
      ]
      expect(await refused(running, others)).to.deep.equal(others)
    }))

  it('ALLOW_INSECURE=true: also what cannot be rebound, but no name with a dot that is not listed', () =>
    withRondo(
      { ALLOW_INSECURE: 'true', HOST: '0.0.0.0', ALLOWED_HOSTS: 'cache.example' },
      async (running) => {
        expect(await refused(running, [...all, 'cache.example'])).to.deep.equal([...DOTTED, ...BROKEN])
      },
    ))

  it('HOST itself may be named', () => {
    for (const [host, named] of [
      ['cache.internal', 'Cache.Internal:8080'],
      ['fd00::1', '[fd00::1]:8080'],
    ] as const) {
      const hosts = new Hosts({ host, allowedHosts: [], allowInsecure: false })
      expect(hosts.refuseHost(named, false)).to.equal(null)
      expect(hosts.refuseHost('evil.example', false)?.code).to.equal('FORBIDDEN')
    }
  })

  it('with both tokens: any, or, once ALLOWED_HOSTS is set, no other name with a dot', async () => {
    const tokens = { DATA_TOKEN: DATA, ADMIN_TOKEN: ADMIN }
    const token = `Authorization: Bearer ${DATA}\r\n`
    await withRondo(tokens, async (running) => {
      expect(await refused(running, [...LOOPBACK, ...FIXED, ...DOTTED], token)).to.deep.equal([])
    })
    await withRondo({ ...tokens, ALLOWED_HOSTS: 'cache.example' }, async (running) => {
      expect(await refused(running, [...all, 'cache.example'], token)).to.deep.equal([...DOTTED, ...BROKEN])
    })
  })

  it('the host of an absolute target stands for the Host header', () =>
    withRondo({}, async ({ ports }) => {
      for (const entry of HTTP_ENTRIES) {
        const status = async (target: string, host: string) =>
          (await rawRequest(ports[entry], `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)).status
        expect(await status('http://evil.example/api/v1/keys', 'localhost')).to.equal(403)
        expect(await status('http://localhost/api/v1/keys', 'evil.example')).to.equal(200)
      }
    }))
})

describe('pages of other origins', () => {
  const writes = [
    ['PUT', '/api/v1/keys/k', { value: 'v' }],
    ['DELETE', '/api/v1/keys/k', undefined],
    ['POST', '/api/v1/mset', { items: [{ key: 'k', value: 'v' }] }],
    ['POST', '/api/v1/keys/k/incr', {}],
    ['POST', '/repair', {}],
    ['GET', '/api/v1/keys', undefined],
    ['GET', '/status', undefined],
    ['GET', '/nope', undefined],
    ['OPTIONS', '/api/v1/keys/k', undefined],
    ['POST', '/ping', undefined],
  ] as const

  for (const entry of HTTP_ENTRIES) {
    for (const env of [{}, { DATA_TOKEN: DATA, ADMIN_TOKEN: ADMIN }]) {
      it(`are refused whatever they ask for, ${Object.keys(env).length} tokens set (${entry})`, () =>
        withRondo(env, async ({ ports }) => {
          const own: Record<string, string> = { Host: 'localhost:8080', Authorization: `Bearer ${DATA}` }
          for (const page of FOREIGN_PAGE) {
            for (const [method, path, body] of writes) {
              const sent = { headers: { ...own, ...page }, ...(body && { body }) }
              const answer = await callPort(ports[entry], method, path, sent)
              expectProblem(answer, 403, 'FORBIDDEN', `${method} ${path} ${JSON.stringify(page)}`)
            }
          }
          const { status } = await callPort(ports[entry], 'GET', '/api/v1/keys/k', { headers: own })
          expect(status, 'nothing was written').to.equal(404)
        }))
    }

    it(`may link to what is open (${entry})`, () =>
      withRondo({}, async ({ ports }) => {
        for (const page of FOREIGN_PAGE) {
          for (const path of ['/', '/ping', '/livez', '/readyz']) {
            for (const method of ['GET', 'HEAD']) {
              expect(
                (await callPort(ports[entry], method, path, { headers: { ...page } })).status,
                path,
              ).to.equal(200)
            }
          }
        }
      }))

    it(`our own page, and what is no browser, may do everything (${entry})`, () =>
      withRondo({ ALLOWED_HOSTS: 'cache.example' }, async ({ ports }) => {
        for (const headers of [
          { 'Sec-Fetch-Site': 'none' },
          { 'Sec-Fetch-Site': 'same-origin', Origin: 'http://localhost' },
          { Origin: 'HTTP://LOCALHOST' },
          { Origin: 'https://localhost:8443', Host: 'localhost:8443' },
          { Origin: 'https://cache.example', 'Sec-Fetch-Site': 'same-origin' }, // behind a proxy
        ] as Record<string, string>[]) {
          const answer = await callPort(ports[entry], 'PUT', '/api/v1/keys/k', {
            headers,
            body: { value: 'v' },
          })
          expect(answer.status, JSON.stringify(headers)).to.equal(200)
        }
      }))
  }
})
