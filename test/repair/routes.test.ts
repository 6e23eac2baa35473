import { expect } from 'chai'
import { expectProblem } from '../support/problem.ts'
import { call as callPort, type Sent } from '../support/raw-http.ts'
import { HTTP_ENTRIES, type RunningRondo, startRondo } from '../support/rondo.ts'

const DATA = 'data-token-0123456789abcdef'
const ADMIN = 'admin-token-0123456789abcdef'
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })
const COUNTS = [
  'checkedKeys',
  'rangesCompared',
  'rangesDiffering',
  'copied',
  'movedHome',
  'forgotten',
  'freedBytes',
  'removedParts',
]

for (const entry of HTTP_ENTRIES) {
  describe(`/repair (${entry})`, () => {
    let running: RunningRondo
    afterEach(() => running.stop())
    const call = (method: string, sent?: Sent) => callPort(running.ports[entry], method, '/repair', sent)
    const ended = async () => {
      for (;;) {
        const told = (await call('GET')).json()
        if (told.state === 'idle') return told
      }
    }

    it('GET tells that there was no round; POST begins one; GET tells how it went', async () => {
      running = await startRondo()
      const before = (await call('GET')).json()
      expect(before).to.deep.equal({
        ...Object.fromEntries(COUNTS.map((name) => [name, 0])),
        state: 'idle',
        startedAt: null,
        evicting: [],
        lastRound: null,
      })
      const begun = await call('POST', { body: {} })
      expect(begun.status).to.equal(202)
      expect(begun.json()).to.have.all.keys('state', 'startedAt', ...COUNTS, 'evicting', 'lastRound')
      const { lastRound } = (await ended()) as { lastRound: Record<string, unknown> }
      expect(lastRound).to.have.all.keys(
        ...['startedAt', 'finishedAt', 'ms', 'result', 'why', 'members', 'evicting', 'misplaced', ...COUNTS],
      )
      expect(lastRound).to.include({ result: 'complete', rangesCompared: 400, copied: 0 })
      expect(lastRound.members).to.have.length(4)
      expect(Math.abs(Date.now() - Date.parse(String(lastRound.finishedAt)))).to.be.below(5000)
      expect((await call('HEAD')).status).to.equal(200)
    })

    it('a round that is under way is told, not begun again', async () => {
      running = await startRondo({ REPAIR_KEYS_PER_SECOND: '20' })
      const { port } = { port: running.ports[entry] }
      for (let i = 0; i < 20; i++) await callPort(port, 'PUT', `/api/v1/keys/k${i}`, { body: { value: 'v' } })
      const [first, second] = [await call('POST', { body: {} }), await call('POST', { body: {} })]
      expect(first.status).to.equal(202)
      expect(second.status).to.equal(202)
      expect(first.json().state).to.equal('running')
      expect(second.json()).to.include({ state: 'running', startedAt: first.json().startedAt })
      expect((await call('GET')).json().startedAt).to.equal(first.json().startedAt)
    })

    it('takes no body, or JSON that says so, and nothing in it', async () => {
      running = await startRondo()
      const text = (type: string, body = '{}') => ({
        body: Buffer.from(body),
        headers: { 'Content-Type': type },
      })
      expectProblem(await call('POST', text('text/plain')), 400, 'BAD_REQUEST')
      expectProblem(await call('POST', text('application/x-www-form-urlencoded')), 400, 'BAD_REQUEST')
      expectProblem(await call('POST', text('application/json', '{"now":true}')), 400, 'BAD_REQUEST')
      expectProblem(await call('POST', text('application/json', '[]')), 400, 'BAD_REQUEST')
      expectProblem(await call('POST', text('application/json', ' '.repeat(2000))), 413, 'VALUE_TOO_LARGE')
      expectProblem(
        await callPort(running.ports[entry], 'POST', '/repair?x=1', { body: {} }),
        400,
        'BAD_REQUEST',
      )
      expect((await call('GET')).json().lastRound, 'nothing was begun').to.equal(null)
      expect((await call('POST', text('application/json; charset=utf-8', ''))).status).to.equal(202)
      expect((await call('POST')).status).to.equal(202)
      expect((await call('POST', { headers: { 'Content-Length': '0' } })).status).to.equal(202)
    })

    it('any other method: 405', async () => {
      running = await startRondo()
      for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
        const answer = await call(method)
        expectProblem(answer, 405, 'METHOD_NOT_ALLOWED')
        expect(answer.headers.allow).to.equal('GET, HEAD, POST')
      }
    })

    it('beginning one is for the administrator; looking is for both', async () => {
      running = await startRondo({ DATA_TOKEN: DATA, ADMIN_TOKEN: ADMIN })
      for (const headers of [{}, bearer(DATA), bearer(`${ADMIN}x`)]) {
        expectProblem(await call('POST', { body: {}, headers }), 401, 'UNAUTHORIZED')
      }
      expectProblem(await call('GET'), 401, 'UNAUTHORIZED')
      expect((await call('GET', { headers: bearer(DATA) })).json().lastRound).to.equal(null)
      expect((await call('POST', { body: {}, headers: bearer(ADMIN) })).status).to.equal(202)
      expect((await call('GET', { headers: bearer(ADMIN) })).status).to.equal(200)
      for (const path of ['/repair/', '//repair', '/Repair', '/%72epair', '/./repair', '/repair?']) {
        const { status } = await callPort(running.ports[entry], 'POST', path, {
          body: {},
          headers: bearer(DATA),
        })
        // Other spellings are no routes: there is nothing, or they are no targets.
        expect(status, path).to.be.oneOf(path === '/repair?' ? [401] : [400, 404])
      }
    })

    it('without ADMIN_TOKEN only this machine may begin one', async () => {
      running = await startRondo({ DATA_TOKEN: DATA })
      const headers = { ...bearer(DATA), Host: 'rondo.example' }
      expectProblem(await call('POST', { body: {}, headers }), 403, 'FORBIDDEN')
      expect((await call('GET', { headers })).status).to.equal(200)
    })
  })
}
