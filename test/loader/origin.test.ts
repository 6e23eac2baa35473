/** What a key can do to the origin's URL, and which machines that URL may lead to. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { parseLoaderAllow, parseLoaderUrl } from '../../src/config/loader-url.ts'
import { OriginAddresses } from '../../src/config/origin-addresses.ts'
import { GuardedFetch } from '../../src/loader/guarded-fetch.ts'
import { urlFor, urlOrigin } from '../../src/loader/origin.ts'

const TEMPLATE = 'https://origin.example/items/{key}'
const urlOf = (key: string | Buffer, template = TEMPLATE, database = 0) =>
  urlFor(parseLoaderUrl(template)!, Buffer.from(key as string), database)

describe('the URL of a key', () => {
  it('has the key in one segment, percent-encoded', () => {
    const at = 'https://origin.example/items/'
    for (const [key, segment] of [
      ['user:1', 'user%3A1'],
      ['a/b?c#d', 'a%2Fb%3Fc%23d'],
      ['ä', '%C3%A4'],
      [Buffer.from([0, 255, 37]), '%00%FF%25'],
      ['%2e%2e', '%252e%252e'],
      ['@evil.example/', '%40evil.example%2F'],
      ['...', '...'],
      ['{key}', '%7Bkey%7D'],
      ['$&', '%24%26'],
    ] as const)
      expect(urlOf(key)).to.equal(at + segment)
    expect(urlOf('k', 'http://h/?id={key}&db={db}', 3)).to.equal('http://h/?id=k&db=3')
    expect(urlOf('k', 'http://h:8080/{key}.json')).to.equal('http://h:8080/k.json')
  })

  it('is none for keys that could lead to another path', () => {
    for (const key of ['', '.', '..', '../admin', 'a/../b', 'a\\..', './x', 'a/.'])
      expect(urlOf(key), key).to.equal(null)
    expect(urlOf('.', 'http://h/a/{key}./b')).to.equal(null)
  })

  it('needs a template that leaves the key no say in the host', () => {
    for (const bad of [
      ...[
        'ftp://h/{key}',
        'file:///{key}',
        'http://{key}/',
        'http://h.{key}/x',
        'http://h:{key}/x',
        '//h/{key}',
      ],
      ...[
        'http://h/',
        'http://h/{id}',
        'http://h/{key}{',
        'http://user:pass@h/{key}',
        'http://h/{key}#x',
        'http://h/#{key}',
      ],
      ...['http://h', 'http:///{key}', 'http://h x/{key}', 'http://[::1/{key}', 'javascript:{key}', ''],
    ])
      expect(parseLoaderUrl(bad), bad).to.equal(null)
    expect(parseLoaderUrl('HTTP://Origin.Example:80/a/../{key}')).to.equal('http://origin.example/{key}')
    expect(parseLoaderUrl('http://0x7f.1/{key}')).to.equal('http://127.0.0.1/{key}')
  })
})

describe('the addresses of an origin', () => {
  const allows = (allow: string, address: string, host = 'origin.example') =>
    new OriginAddresses(allow === '' ? { hosts: [], networks: [] } : parseLoaderAllow(allow)!).allows(
      host,
      address,
    )

  it('are public ones', () => {
    for (const address of ['93.184.216.34', '8.8.8.8', '172.32.0.1', '2606:4700::1111']) {
      expect(allows('', address), address).to.equal(true)
    }
    for (const address of [
      ...[
        '127.0.0.1',
        '127.9.9.9',
        '10.1.2.3',
        '172.16.0.1',
        '192.168.1.1',
        '169.254.169.254',
        '100.64.0.1',
        '0.0.0.0',
      ],
      ...[
        '224.0.0.1',
        '255.255.255.255',
        '::1',
        '::',
        'fd00::1',
        'fe80::1',
        'fe80::1%eth0',
        'ff02::1',
        '2002:7f00:1::',
      ],
      ...[
        '::ffff:127.0.0.1',
        '::ffff:7f00:1',
        '::127.0.0.1',
        '64:ff9b::7f00:1',
        '::ffff:8.8.8.8.',
        'localhost',
        '',
      ],
    ])
      expect(allows('', address), address).to.equal(false)
  })

  it('are private ones that LOADER_ALLOW names, by network or by host', () => {
    expect(allows('10.1.0.0/16', '10.1.2.3')).to.equal(true)
    expect(allows('10.1.0.0/16', '::ffff:10.1.2.3')).to.equal(true)
    expect(allows('10.1.0.0/16', '10.2.2.3')).to.equal(false)
    expect(allows('fd00::/8', 'fd00::1')).to.equal(true)
    expect(allows('origin.example', '10.2.2.3')).to.equal(true)
    expect(allows('*.example', '10.2.2.3')).to.equal(true)
    for (const other of ['example', 'rigin.example', '*.origin.example', 'other.example']) {
      expect(allows(other, '10.2.2.3'), other).to.equal(false)
    }
    for (const bad of ['10.0.0.0/33', 'a b', '*', 'a,,b']) expect(parseLoaderAllow(bad), bad).to.equal(null)
  })
})

describe('asking an origin', () => {
  let server: Server
  let port: number
  let answer: (req: IncomingMessage, res: ServerResponse) => void
  let asked: string[]
  const fetches: GuardedFetch[] = []

  before((done) => {
    server = createServer((req, res) => {
      asked.push(`${req.method} ${req.url}`)
      answer(req, res)
    }).listen(0, '127.0.0.1', () => {
      port = (server.address() as AddressInfo).port
      done()
    })
  })
  beforeEach(() => (asked = []))
  after(() => {
    for (const one of fetches) one.close()
    server.closeAllConnections()
    server.close()
  })

  async function load(
    key: string,
    { host = '127.0.0.1', allow = '127.0.0.1', signal = new AbortController().signal } = {},
  ) {
    const allowed = allow === '' ? { hosts: [], networks: [] } : parseLoaderAllow(allow)!
    const guarded = new GuardedFetch(new OriginAddresses(allowed))
    fetches.push(guarded)
    const origin = urlOrigin(parseLoaderUrl(`http://${host}:${port}/items/{key}`)!, guarded.fetch, 1000)
    const loaded = (await origin(Buffer.from(key), { database: 0, signal })) as Buffer | null
    return loaded?.toString() ?? null
  }

  const failure = (loading: Promise<unknown>) =>
    loading.then(
      () => 'no failure',
      (error: unknown) => (error as Error).message,
    )

  it('is a GET whose 200 is the value, and 404 or 410 none', async () => {
    answer = (req, res) =>
      res.writeHead(req.url!.endsWith('gone') ? 410 : req.url!.endsWith('no') ? 404 : 200).end('v')
    expect([await load('a b'), await load('gone'), await load('no')]).to.deep.equal(['v', null, null])
    expect(asked).to.deep.equal(['GET /items/a%20b', 'GET /items/gone', 'GET /items/no'])
    expect(await load('../secret')).to.equal(null)
    expect(asked).to.have.length(3)
  })

  it('fails with whatever else it answers, and follows no redirect', async () => {
    answer = (_req, res) => res.writeHead(302, { Location: `http://127.0.0.1:${port}/elsewhere` }).end()
    expect(await failure(load('k'))).to.equal('The origin answered 302.')
    answer = (_req, res) => res.writeHead(500).end('secret details')
    expect(await failure(load('k'))).to.equal('The origin answered 500.')
    answer = (_req, res) => res.writeHead(206).end('part')
    expect(await failure(load('k'))).to.equal('The origin answered 206.')
    expect(asked).to.deep.equal(Array.from({ length: 3 }, () => 'GET /items/k'))
  })

  it('fails with a body that is compressed: clients could not know', async () => {
    answer = (_req, res) => res.writeHead(200, { 'Content-Encoding': 'gzip' }).end('bytes')
    expect(await failure(load('k'))).to.match(/^The origin's value is encoded/)
    answer = (_req, res) => res.writeHead(200, { 'Content-Encoding': 'Identity' }).end('bytes')
    expect(String(await load('k'))).to.equal('bytes')
  })

  it('reads no more than a value may have', async () => {
    answer = (_req, res) => res.end(Buffer.alloc(1000))
    expect((await load('k'))!.length).to.equal(1000)
    let closed: () => void
    const isClosed = new Promise<void>((resolve) => (closed = resolve))
    answer = (_req, res) => {
      res.on('close', () => closed())
      const more = () => res.write(Buffer.alloc(600), () => !res.destroyed && setImmediate(more))
      more()
    }
    expect(await failure(load('k'))).to.match(/more than 1000 bytes/)
    await isClosed
  })

  it('fails where it is cut off in the middle, or refused', async () => {
    answer = (_req, res) => {
      res.writeHead(200, { 'Content-Length': '10' })
      res.write('half', () => res.destroy())
    }
    expect(await failure(load('k'))).to.match(/broke in the middle/)
    expect(await failure(load('k', { host: '127.0.0.2' }))).to.match(/no address that may be asked/)
  })

  it('connects to no address that it may not ask, whatever form or name leads there', async () => {
    for (const host of ['127.0.0.1', 'localhost', '0x7f.1', '2130706433', '[::1]', '[::ffff:127.0.0.1]']) {
      expect(await failure(load('k', { host, allow: '' })), host).to.match(/no address that may be asked/)
    }
    expect(asked).to.deep.equal([])
    answer = (_req, res) => res.end('by name')
    expect(await load('k', { host: 'localhost', allow: 'localhost' })).to.equal('by name')
  })

  it('ends when it is told to', async () => {
    const aborting = new AbortController()
    let closed: () => void
    const isClosed = new Promise<void>((resolve) => (closed = resolve))
    answer = (_req, res) => {
      res.on('close', () => closed())
      aborting.abort()
    }
    expect(await failure(load('k', { signal: aborting.signal }))).to.match(/could not be asked/)
    await isClosed
  })
})
