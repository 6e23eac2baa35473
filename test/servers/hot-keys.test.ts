// The hottest and the largest keys: who sees them, in which form, and that every way in counts.
import { expect } from 'chai'
import { RawResp } from '../support/raw-resp.ts'
import { call } from '../support/raw-http.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

const DATA = 'data-token-0123456789abcdef'
const ADMIN = 'admin-token-0123456789abcdef'
const bearer = (token: string) => ({ headers: { Authorization: `Bearer ${token}` } })
const BINARY = Buffer.from([0xff, 0x00, 0x0a])

interface Shown {
  watched: boolean
  perSecond: number
  hot: { key: string; keyEncoding?: string; db: number; share: number }[]
  big: { key: string; keyEncoding?: string; db: number; type: string; bytes: number }[]
}

describe('hot and big keys', () => {
  let running: RunningRondo
  let client: RawResp
  before(async () => {
    running = await startRondo({ DATA_TOKEN: DATA, ADMIN_TOKEN: ADMIN, HOT_KEYS: '32' })
    client = await RawResp.open(running.rondo.respServer.port)
    await client.ask('AUTH', DATA)
    await client.ask('SET', BINARY, 'x'.repeat(200_000))
    await client.ask('SELECT', '3')
    await client.ask('HSET', 'user:7', 'f', 'y'.repeat(5000))
    await client.ask('SELECT', '0')
    for (let i = 0; i < 300; i++) await client.ask('GET', 'sec"ret\r\n')
  })
  after(async () => {
    client.close()
    await running.stop()
  })
  const hotKeys = async (query = '') => {
    const answer = await call(running.ports.socket, 'GET', `/hotkeys${query}`, bearer(ADMIN))
    expect(answer.status).to.equal(200)
    return answer.json() as unknown as Shown
  }

  it('GET /hotkeys tells their names, counts and sizes', async () => {
    const { watched, perSecond, hot, big } = await hotKeys()
    expect(watched).to.equal(true)
    expect(perSecond).to.be.above(0)
    expect(hot[0]).to.include({ key: 'sec"ret\r\n', db: 0 })
    expect(hot[0]!.share).to.be.within(0.5, 1)
    expect(big).to.have.length(2)
    expect(big[0]).to.include({
      key: BINARY.toString('base64url'),
      keyEncoding: 'base64url',
      type: 'string',
      db: 0,
    })
    expect(big[0]!.bytes).to.equal(200_000)
    expect(big[1]).to.include({ key: 'user:7', type: 'hash', db: 3 }).and.not.have.property('keyEncoding')
    const encoded = await hotKeys('?keyEncoding=base64url')
    expect(encoded.big.map(({ key }) => Buffer.from(key, 'base64url').toString('hex'))).to.deep.equal([
      BINARY.toString('hex'),
      Buffer.from('user:7').toString('hex'),
    ])
    expect(encoded.big[0]).not.to.have.property('keyEncoding')
    const unknown = await call(running.ports.socket, 'GET', '/hotkeys?count=3', bearer(ADMIN))
    expect(unknown.status).to.equal(400)
  })

  it('RONDO HOTKEYS tells them to the user admin only', async () => {
    expect(await client.ask('RONDO', 'HOTKEYS')).to.match(/^-NOPERM User default has no permissions/)
    const admin = await RawResp.open(running.rondo.respServer.port)
    try {
      expect(await admin.ask('RONDO', 'HOTKEYS')).to.match(/^-NOAUTH/)
      await admin.ask('AUTH', 'admin', ADMIN)
      const reply = await admin.ask('RONDO', 'HOTKEYS')
      expect(reply).to.include('$7\r\nwatched\r\n$3\r\nyes\r\n').and.include('sec"ret\r\n')
      expect(reply).to.include(BINARY.toString('latin1')).and.include('$5\r\nbytes\r\n:200000\r\n')
      expect(reply).not.to.include('__rondo:')
      expect(await admin.ask('RONDO', 'HOTKEYS', 'more')).to.match(/^-ERR wrong number of arguments/)
    } finally {
      admin.close()
    }
  })

  it('the metrics count them, and name none', async () => {
    const { text } = await call(running.ports.socket, 'GET', '/metrics', bearer(ADMIN))
    expect(text)
      .to.include('rondo_big_keys{type="string"} 1\n')
      .and.include('rondo_big_keys{type="hash"} 0\n')
      .and.include('rondo_largest_value_bytes{type="string"} 200000\n')
      .and.include('rondo_largest_value_bytes{type="list"} 0\n')
    expect(/^rondo_hot_keys (\d+)$/m.exec(text)![1]).to.equal('1')
    expect(Number(/^rondo_hottest_key_share (\S+)$/m.exec(text)![1])).to.be.within(0.5, 1)
    expect(text).not.to.match(/sec.{0,2}ret|user:7/)
  })

  it('without ADMIN_TOKEN their names need DATA_TOKEN', async () => {
    const other = await startRondo({ DATA_TOKEN: DATA, HOT_KEYS: '32' })
    try {
      expect((await call(other.ports.socket, 'GET', '/hotkeys')).status).to.equal(401)
      expect((await call(other.ports.socket, 'GET', '/hotkeys', bearer(DATA))).status).to.equal(200)
    } finally {
      await other.stop()
    }
  })

  it('keeps none unless HOT_KEYS says how many', async () => {
    const other = await startRondo()
    try {
      const { socket } = other.ports
      await call(socket, 'PUT', '/api/v1/keys/k', { body: { value: 'x'.repeat(5000) } })
      const shown = (await call(socket, 'GET', '/hotkeys')).json()
      expect(shown).to.deep.equal({ watched: false, perSecond: 0, hot: [], big: [] })
      expect((await call(socket, 'GET', '/metrics')).text).not.to.match(/rondo_(hot|big|largest)/)
    } finally {
      await other.stop()
    }
  })

  it('every way in counts, once for each key', async () => {
    const { hot } = running.rondo.coordinator.usage!
    const noted: string[] = []
    const note = hot.note.bind(hot)
    hot.note = (key, isWrite) => void noted.push(`${isWrite ? 'write' : 'read'} ${key.toString()}`)
    const { socket } = running.ports
    const send = (method: string, path: string, body?: object) =>
      call(socket, method, path, { ...bearer(DATA), ...(body !== undefined && { body }) })
    const ways: readonly (readonly [way: () => Promise<unknown>, expected: readonly string[]])[] = [
      [() => client.ask('GET', 'a'), ['read a']],
      [() => client.ask('SET', 'a', '1'), ['write a']],
      [() => client.ask('SET', 'a', '1', 'XX'), ['write a']],
      [() => client.ask('INCR', 'a'), ['write a']],
      [() => client.ask('STRLEN', 'a'), ['read a']],
      [() => client.ask('MGET', 'a', 'b', 'a'), ['read a', 'read b']],
      [() => client.ask('DEL', 'a'), ['write a']],
      [() => client.ask('RENAME', '{a}1', '{a}2'), ['write {a}1', 'write {a}2']],
      [() => send('GET', '/api/v1/keys/a'), ['read a']],
      [() => send('PUT', '/api/v1/keys/a', { value: '1' }), ['write a']],
      [() => send('DELETE', '/api/v1/keys/a'), ['write a']],
      [() => send('POST', '/api/v1/keys/a/incr', {}), ['write a']],
      [() => send('POST', '/api/v1/mget', { keys: ['a', 'b'] }), ['read a', 'read b']],
      [() => send('POST', '/api/v1/command', { command: ['GET', 'a'] }), ['read a']],
    ]
    try {
      for (const [way, expected] of ways) {
        noted.length = 0
        await way()
        expect(noted, way.toString()).to.deep.equal(expected)
      }
    } finally {
      hot.note = note
    }
  })
})
