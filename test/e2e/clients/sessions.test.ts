/** Sessions of a web site in Rondo: Express, express-session and connect-redis over node-redis. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { RedisStore } from 'connect-redis'
import express from 'express'
import session from 'express-session'
import { createClient } from 'redis-5'
import { startFourNodes, type FourNodes } from './four-nodes.ts'

const SESSION_SECONDS = 600

describe('connect-redis', function () {
  this.timeout(20_000)
  let nodes: FourNodes
  let client: ReturnType<typeof createClient>
  let store: RedisStore
  let site: Server
  let url: string

  before(async () => {
    nodes = await startFourNodes({ READ_CONSISTENCY: 'quorum', WRITE_CONSISTENCY: 'quorum' })
    client = createClient({ url: `redis://127.0.0.1:${nodes.port}` })
    await client.connect()
    store = new RedisStore({ client, prefix: 'session:' })
    const app = express()
    const cookie = { maxAge: SESSION_SECONDS * 1000 }
    app.use(session({ store, secret: 'not secret', resave: false, saveUninitialized: false, cookie }))
    app.post('/login/:user', (req, res) => {
      req.session.user = req.params.user
      req.session.count = 0
      res.sendStatus(204)
    })
    app.get('/count', (req, res) => {
      if (req.session.user === undefined) {
        res.sendStatus(401)
        return
      }
      req.session.count = (req.session.count ?? 0) + 1
      res.json({ user: req.session.user, count: req.session.count })
    })
    app.post('/logout', (req, res, next) => {
      req.session.destroy((error) => (error ? next(error) : res.sendStatus(204)))
    })
    site = createServer(app).listen(0, '127.0.0.1')
    await new Promise((resolve) => site.once('listening', resolve))
    url = `http://127.0.0.1:${(site.address() as AddressInfo).port}`
  })
  after(async () => {
    site.closeAllConnections()
    await new Promise((resolve) => site.close(resolve))
    await client.close()
    await nodes.stop()
  })

  const logIn = async (user: string) => {
    const response = await fetch(`${url}/login/${user}`, { method: 'POST' })
    expect(response.status).to.equal(204)
    return { cookie: response.headers.get('set-cookie')!.split(';')[0]! }
  }
  const count = async (headers: { cookie: string }) => {
    const response = await fetch(`${url}/count`, { headers })
    return response.status === 200 ? await response.json() : response.status
  }

  it('a visitor logs in, is counted, also while a node is killed and comes back, and logs out', async () => {
    const ada = await logIn('ada')
    const bob = await logIn('bob')
    for (let i = 1; i <= 3; i++) expect(await count(ada)).to.deep.equal({ user: 'ada', count: i })
    expect(await count(bob)).to.deep.equal({ user: 'bob', count: 1 })
    const [victim] = nodes.rondo.serversOf(`session:${sessionId(ada.cookie)}`)
    await victim!.kill()
    for (let i = 4; i <= 20; i++) expect(await count(ada)).to.deep.equal({ user: 'ada', count: i })
    await victim!.restart()
    for (let i = 21; i <= 30; i++) expect(await count(ada)).to.deep.equal({ user: 'ada', count: i })
    await nodes.rondo.used(victim!)
    expect(await count(bob)).to.deep.equal({ user: 'bob', count: 2 })
    expect((await fetch(`${url}/logout`, { method: 'POST', headers: ada })).status).to.equal(204)
    expect(await count(ada)).to.equal(401)
    expect(await count(bob)).to.deep.equal({ user: 'bob', count: 3 })
  })

  it('sessions end by themselves, and can be counted, listed and cleared', async () => {
    await store.clear()
    const { cookie } = await logIn('cleo')
    await logIn('dan')
    expect(await client.ttl(`session:${sessionId(cookie)}`)).to.be.within(
      SESSION_SECONDS - 10,
      SESSION_SECONDS,
    )
    expect(await store.length()).to.equal(2)
    expect((await store.ids()) as string[]).to.include(sessionId(cookie))
    const all = (await store.all()) as { user: string }[]
    expect(all.map(({ user }) => user).sort()).to.deep.equal(['cleo', 'dan'])
    await store.clear()
    expect(await store.length()).to.equal(0)
    expect(await count({ cookie })).to.equal(401)
  })
})

/** `connect.sid=s%3A<id>.<signature>` */
function sessionId(cookie: string): string {
  return decodeURIComponent(cookie.split('=')[1]!).slice(2).split('.')[0]!
}
