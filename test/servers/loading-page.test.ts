// docs/LOADING.md: its commands, run in order, answer as the page says.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { Rondo } from '../../src/app/rondo.ts'
import { loadConfig } from '../../src/config/config.ts'
import { runShown, shownIn } from '../support/doc-page.ts'
import { call } from '../support/raw-http.ts'
import { RawResp } from '../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

const page = readFileSync(new URL('../../docs/LOADING.md', import.meta.url), 'utf8')
const shown = shownIn(page)
const TOKEN = /\b[0-9a-f]{52}\b/g

/** Versions, tokens and the TTL of a loaded value differ each time. */
const alike = (text: string) =>
  text
    .replace(/"version":"[0-9a-f]{24}"/, '"version":"…"')
    .replace(/"ttl":(2[789]\d|300)\b/, '"ttl":"…"')
    .replace(/; ttl=(2[789]\d|300) [01]$/m, '; ttl=… …')
    .replaceAll(TOKEN, '…')
    .trimEnd()

describe('docs/LOADING.md', () => {
  let origin: Server
  let running: RunningRondo
  let redis: RawResp
  /** Of the page, by what stands there. */
  const tokens = new Map<string, string>()

  before(async () => {
    origin = createServer((req, res) => res.writeHead(req.url === '/items/user%3A1' ? 200 : 404).end('Ada'))
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
    const { port } = origin.address() as AddressInfo
    running = await startRondo({
      LOADER_URL: `http://localhost:${port}/items/{key}`,
      LOADER_ALLOW: 'localhost',
    })
    redis = await RawResp.open(running.rondo.respServer.port)
  })
  after(async () => {
    redis.socket.destroy()
    await running.stop()
    origin.closeAllConnections()
    origin.close()
  })

  it('has commands only in its console blocks', () => {
    expect(shown.length).to.be.greaterThan(10)
    expect(shown).to.have.length([...page.matchAll(/^\$ (curl|redis-cli) /gm)].length)
  })

  for (const { command, printed } of shown) {
    it(command, async () => {
      const known = command.replaceAll(TOKEN, (token) => tokens.get(token) ?? token)
      const answer = await runShown(known, redis, running.ports.socket)
      const found = answer.match(TOKEN) ?? []
      printed.match(TOKEN)?.forEach((token, i) => tokens.set(token, found[i]!))
      expect(alike(answer)).to.equal(alike(printed))
    })
  }
})

describe('the function of docs/LOADING.md', () => {
  const [, text] = /^```ts\n(const rondo = new Rondo[^]*?)^```$/m.exec(page)!
  interface Query {
    readonly id: string
    readonly signal: AbortSignal
    answer(row: { body: string } | null): void
  }
  const queries: Query[] = []
  const db = {
    query: (sql: string, [id]: string[], { signal }: { signal: AbortSignal }) => {
      expect(sql).to.contain('where id = $1')
      return new Promise((resolve, reject) => {
        queries.push({ id: id!, signal, answer: resolve })
        signal.addEventListener('abort', () => reject(signal.reason as Error))
      })
    },
  }
  let rondo: Rondo
  let app: Server
  before(async () => {
    const loaded = loadConfig({ LOADER_TIMEOUT_MS: '200' })
    if (!loaded.ok) throw new Error(loaded.problems.join('\n'))
    // eslint-disable-next-line @typescript-eslint/no-implied-eval -- the page's own text
    const run = new Function('Rondo', 'config', 'db', `${text}\nreturn rondo`) as (
      ...given: unknown[]
    ) => Rondo
    rondo = run(Rondo, loaded.config, db)
    await rondo.start()
    app = createServer(rondo.app)
    await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve))
  })
  after(async () => {
    app.closeAllConnections()
    app.close()
    await rondo.stop()
  })
  beforeEach(() => void queries.splice(0))

  const get = (key: string) => call((app.address() as AddressInfo).port, 'GET', `/api/v1/keys/${key}`)
  const asked = async () => {
    while (queries.length === 0) await new Promise((resolve) => setImmediate(resolve))
    return queries[0]!
  }

  it('is asked once for all who wait, and what it returns is kept for the time that it says', async () => {
    const answers = Promise.all(Array.from({ length: 20 }, () => get('42')))
    const query = await asked()
    expect(query.id).to.equal('42')
    query.answer({ body: 'Ada' })
    for (const answer of await answers) expect(answer.json()).to.include({ value: 'Ada' })
    const again = (await get('42')).json()
    expect(again).to.include({ value: 'Ada' })
    expect(again.ttl).to.be.within(1, 60)
    expect(queries).to.have.length(1)
  })

  it('says with null that there is none', async () => {
    const answer = get('none')
    const query = await asked()
    query.answer(null)
    expect((await answer).status).to.equal(404)
  })

  it('is told by its signal that it takes too long', async () => {
    const answer = get('slow')
    answer.catch(() => undefined) // it waits for longer than this test does
    const { signal } = await asked()
    if (!signal.aborted) await once(signal, 'abort')
    expect(signal.reason).to.be.an.instanceOf(Error)
  })
})
