/** Asking Sentinels, against servers that answer as a test tells them to. */
import type { Socket } from 'node:net'
import { expect } from 'chai'
import { timers } from '../../src/app/rondo.ts'
import { SentinelPlace, Sentinels } from '../../src/nodes/redis/sentinel.ts'
import { until } from '../support/rondo-under-test.ts'
import { ScriptedServer, type Answer } from '../support/scripted-server.ts'

const PRIMARY = '*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n'
const OTHER = '*2\r\n$8\r\n10.0.0.2\r\n$4\r\n6379\r\n'
const SUBSCRIBED = '*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n'
const SWITCHED = '*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$4\r\ncart\r\n'

describe('Sentinels', () => {
  let servers: ScriptedServer[] = []
  let all: Sentinels | null = null

  afterEach(async () => {
    all?.close()
    await Promise.all(servers.map((server) => server.stop()))
    servers = []
  })

  /** @param answers what each of them says to the question; null = nothing */
  async function asked(
    answers: readonly Answer[],
    secrets: Record<string, string> = {},
  ): Promise<SentinelPlace> {
    for (const answer of answers) {
      const server = await ScriptedServer.start(([command]) => {
        if (command?.toUpperCase() === 'AUTH')
          return secrets.password === 'right' ? '+OK\r\n' : '-WRONGPASS wrong-secret\r\n'
        if (secrets.password === 'wrong-secret') return '-NOAUTH Authentication required.\r\n'
        return command === 'SUBSCRIBE' ? SUBSCRIBED : answer
      })
      servers.push(server)
    }
    all = new Sentinels({
      credentials: secrets,
      tlsOptions: () => ({}),
      connectTimeoutMs: 1000,
      nodeTimeoutMs: 200,
      timers,
    })
    const sentinels = servers.map(({ port }) => ({ host: '127.0.0.1', port }))
    return new SentinelPlace(all, { name: 'cart', sentinels, tls: false }, { password: 'of-the-redis' })
  }
  async function problemOf(place: SentinelPlace): Promise<string> {
    const found = await place.ask().catch((error: Error) => error)
    if (typeof found === 'string') throw new Error(`it says ${found}`)
    return found.message
  }

  it('are asked by the name of the service, and connections go where more than half of them say', async () => {
    const place = await asked([PRIMARY, OTHER, PRIMARY])
    expect(place.address).to.equal(null)
    await place.locate()
    expect(place.address).to.equal('10.0.0.1:6379')
    expect(place.target).to.deep.equal({ host: '10.0.0.1', port: 6379, tls: false, password: 'of-the-redis' })
    expect(servers[0]!.commands).to.include('SENTINEL GET-MASTER-ADDR-BY-NAME cart')
  })

  it('are not followed by themselves: connections stay where they are until they are moved', async () => {
    const place = await asked([PRIMARY])
    await place.locate()
    servers[0]!.answer = ([command]) => (command === 'SUBSCRIBE' ? SUBSCRIBED : OTHER)
    await place.locate()
    expect([place.address, await place.ask()]).to.deep.equal(['10.0.0.1:6379', '10.0.0.2:6379'])
    place.moveTo('[::1]:7')
    expect(place.target).to.deep.include({ host: '::1', port: 7 })
  })

  it('that disagree, know nothing or do not answer are named, and nothing is known', async () => {
    const why = await problemOf(await asked([PRIMARY, OTHER, '*-1\r\n']))
    expect(why).to.include('of 3 Sentinels of cart, 2 must name the same primary')
    expect(why).to.include('10.0.0.1:6379 by 1').and.include('10.0.0.2:6379 by 1')
    expect(why).to.include(`127.0.0.1:${servers[2]!.port}: it watches no service cart`)
  })

  it('of which most are gone are no majority', async () => {
    const place = await asked([PRIMARY, PRIMARY, PRIMARY])
    await Promise.all(servers.slice(1).map((server) => server.stop()))
    const gone = servers.splice(1)
    expect(gone).to.have.length(2)
    expect(await problemOf(place)).to.match(
      /10\.0\.0\.1:6379 by 1.*nothing accepts connections at its address/,
    )
  })

  const answers: [string, Answer, RegExp][] = [
    ['an error', '-IDONTKNOW\r\n', /IDONTKNOW/],
    ['a number', ':1\r\n', /names no host and port/],
    ['one word', '*1\r\n$1\r\nh\r\n', /names no host and port/],
    ['no host', '*2\r\n$3\r\na b\r\n$1\r\n1\r\n', /names no host and port/],
    ['no port', '*2\r\n$1\r\nh\r\n$1\r\n0\r\n', /names no host and port/],
    [
      'a metadata address',
      '*2\r\n$15\r\n169.254.169.254\r\n$2\r\n80\r\n',
      /metadata address: no node can be/,
    ],
    ['everybody', '*2\r\n$7\r\n0.0.0.0\r\n$4\r\n6379\r\n', /unspecified/],
    ['no Redis protocol', 'HTTP/1.1 400 Bad Request\r\n\r\n', /not an answer|lost|closed/i],
    ['nothing', null, /: it did not answer within 200 ms/],
  ]
  for (const [what, answer, why] of answers) {
    it(`that answer with ${what} are not believed`, async () => {
      expect(await problemOf(await asked([answer]))).to.match(why)
    })
  }

  it('authenticate with their own user and password, which no error shows', async () => {
    const place = await asked([PRIMARY], { username: 'watcher', password: 'right' })
    expect(await place.ask()).to.equal('10.0.0.1:6379')
    expect(servers[0]!.commands).to.include('AUTH watcher right')
    expect(servers[0]!.commands.join()).to.not.include('of-the-redis')
  })

  it('that refuse the password say so', async () => {
    const why = await problemOf(await asked([PRIMARY], { username: 'watcher', password: 'wrong-secret' }))
    expect(why).to.include('refused the user or password (WRONGPASS)').and.not.include('wrong-secret')
  })

  it('announce failovers: somebody is called, however often they are asked', async () => {
    const place = await asked([PRIMARY])
    const subscribers: Socket[] = []
    servers[0]!.answer = ([command], socket) => {
      if (command !== 'SUBSCRIBE') return PRIMARY
      subscribers.push(socket)
      return SUBSCRIBED
    }
    let heard = 0
    all!.onSwitch(() => heard++)
    await place.ask()
    await place.ask()
    await until('it listens', () => heard === 1)
    expect(servers[0]!.connections, 'one to ask, one to listen').to.equal(2)
    for (const socket of subscribers) socket.write(SWITCHED)
    await until('it hears', () => heard === 2)
  })
})
