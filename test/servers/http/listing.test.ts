import { expect } from 'chai'
import { Redis } from 'ioredis'
import { expectProblem } from '../../support/problem.ts'
import { call as callPort } from '../../support/raw-http.ts'
import { type RedisServer, startRedisCluster } from '../../../scripts/redis-server.ts'
import { type HttpEntry, HTTP_ENTRIES, type RunningRondo, startRondo } from '../../support/rondo.ts'

interface Page {
  keys: string[]
  cursor: string
  binaryKeys?: number
}

const NAMES = Array.from({ length: 500 }, (_, i) => (i % 5 === 0 ? `user:${i}` : `order:${i}/ö`))

for (const driver of ['memory', 'redis'] as const) {
  describe(`listing keys on ${driver} nodes`, () => {
    let servers: RedisServer[] = []
    let running: RunningRondo
    before(async () => {
      if (driver === 'redis') servers = await startRedisCluster(4)
      const urls = servers.map(({ url }) => url).join(',')
      running = await startRondo(urls === '' ? {} : { REDIS_URLS: urls })
      const items = NAMES.map((key) => ({ key, value: key }))
      await callPort(running.ports.socket, 'POST', '/api/v1/mset', { body: { items } })
      const deleted = { body: { keys: NAMES.slice(-10) } }
      await callPort(running.ports.socket, 'POST', '/api/v1/mdelete', deleted)
      await running.rondo.coordinator.drain(1000)
    })
    after(async () => {
      await running.stop()
      await Promise.all(servers.map((server) => server.stop()))
    })
    const live = NAMES.slice(0, -10)

    const page = async (query: string, entry: HttpEntry = 'socket'): Promise<Page> => {
      const answer = await callPort(running.ports[entry], 'GET', `/api/v1/keys${query}`)
      expect(answer.status, answer.text).to.equal(200)
      return answer.json() as unknown as Page
    }
    /** Follows the cursor to the end. */
    const list = async (query = '', entry: HttpEntry = 'socket'): Promise<string[]> => {
      const keys: string[] = []
      let cursor = '0'
      for (let pages = 0; pages < 1000; pages++) {
        const found = await page(`?cursor=${cursor}${query}`, entry)
        keys.push(...found.keys)
        cursor = found.cursor
        if (cursor === '0') return keys
      }
      throw new Error('the cursor did not come to an end')
    }

    it('every key comes once although it has three copies; what was deleted and what is internal never', async () => {
      for (const entry of HTTP_ENTRIES) expect((await list('', entry)).sort()).to.deep.equal([...live].sort())
      for (const count of [13, 1000]) {
        expect((await list(`&count=${count}`)).sort(), `count=${count}`).to.deep.equal([...live].sort())
      }
      expect(await list('&match=*rondo*')).to.deep.equal([])
    })

    it('match is a glob of Redis on the whole key', async () => {
      const users = live.filter((key) => key.startsWith('user:'))
      expect((await list('&match=user:*')).sort()).to.deep.equal([...users].sort())
      expect((await list('&match=user:[0-4]?0')).sort()).to.deep.equal(
        users.filter((key) => /^user:[0-4]\d0$/.test(key)).sort(),
      )
      expect(await list('&match=order:1%2F%C3%B6')).to.deep.equal(['order:1/ö'])
      expect(await list('&match=user')).to.deep.equal([])
      expect(await list('&match=')).to.deep.equal([])
    })

    it('a page is about as long as count says', async () => {
      const first = await page('?count=10')
      expect(first.keys.length).to.be.within(1, 30)
      expect(first.cursor).not.to.equal('0')
      expect((await page('')).keys.length, '100 by default').to.be.within(50, 250)
    })

    it('keys that are no text are counted, and told as base64url', async () => {
      const key = Buffer.from([0xff, 0xfe, 0x01]).toString('base64url')
      const path = `/api/v1/keys/${key}?keyEncoding=base64url`
      await callPort(running.ports.socket, 'PUT', path, { body: 'v' })
      await running.rondo.coordinator.drain(1000)
      try {
        expect(await list()).to.have.length(live.length)
        let binaryKeys = 0
        let cursor = '0'
        do {
          const found = await page(`?cursor=${cursor}`)
          binaryKeys += found.binaryKeys ?? 0
          cursor = found.cursor
        } while (cursor !== '0')
        expect(binaryKeys).to.equal(1)
        const encoded = await list('&keyEncoding=base64url')
        expect(encoded)
          .to.have.length(live.length + 1)
          .and.include(key)
        expect(encoded).to.include(Buffer.from('user:0').toString('base64url'))
      } finally {
        await callPort(running.ports.socket, 'DELETE', path)
      }
    })

    it('bad parameters: 400', async () => {
      for (const query of [
        ...['0', '-1', '1.5', 'x', '', '1001', '1e2', '0x10', '%2010'].map((count) => `?count=${count}`),
        ...['x', '-1', '1', '9-0', '99-99', '0-', '0-x', '0-99999999999999999999999'].map(
          (c) => `?cursor=${c}`,
        ),
        '?match=a&match=b',
        '?match=%FF',
        '?match=%',
        '?pattern=x',
        '?keyEncoding=hex',
      ]) {
        expectProblem(
          await callPort(running.ports.socket, 'GET', `/api/v1/keys${query}`),
          400,
          'BAD_REQUEST',
          query,
        )
      }
    })

    it('explain tells where a key lives and what each replica holds', async () => {
      for (const entry of HTTP_ENTRIES) {
        const answer = await callPort(running.ports[entry], 'GET', '/api/v1/keys/order:1%2F%C3%B6/explain')
        expect(answer.status, answer.text).to.equal(200)
        const explained = answer.json() as {
          key: string
          token: number
          replicaSet: string[]
          readOrder: string[]
          replicas: { node: string; role: string; state: string; holds: Record<string, unknown> }[]
        }
        expect(explained.key).to.equal('order:1/ö')
        expect(explained.token).to.be.within(0, 2 ** 32 - 1)
        expect(new Set(explained.replicaSet).size).to.equal(3)
        expect(explained.readOrder[0]).to.equal(explained.replicaSet[0])
        expect(explained.replicas.map(({ node }) => node)).to.deep.equal(explained.replicaSet)
        expect(explained.replicas.map(({ role }) => role)).to.deep.equal(['primary', 'replica', 'replica'])
        const got = await callPort(running.ports[entry], 'GET', '/api/v1/keys/order:1%2F%C3%B6')
        for (const { state, holds } of explained.replicas) {
          expect(state).to.equal('up')
          expect(holds).to.include({ kind: 'value', version: got.json().version, expired: false })
          expect(holds.valueBytes).to.equal(Buffer.byteLength('order:1/ö'))
        }
      }
      const deleted = await callPort(
        running.ports.socket,
        'GET',
        `/api/v1/keys/${encodeURIComponent(NAMES.at(-1)!)}/explain`,
      )
      expect((deleted.json().replicas as { holds: unknown }[])[0]!.holds).to.include({ kind: 'tombstone' })
    })

    it('explain refuses what the other calls refuse', async () => {
      const explain = (key: string) => callPort(running.ports.socket, 'GET', `/api/v1/keys/${key}/explain`)
      expectProblem(await explain('__rondo:node'), 403, 'KEY_RESERVED')
      expectProblem(await explain('%FF'), 400, 'BAD_REQUEST')
      expectProblem(await explain('%zz'), 400, 'BAD_REQUEST')
      expectProblem(await explain('k'.repeat(1025)), 414, 'KEY_TOO_LONG')
      expectProblem(await explain(''), 404, 'NOT_FOUND')
    })

    if (driver === 'redis') {
      it('a value that somebody else stored is read with its own ttl, and listed', async () => {
        const { replicaSet } = (
          await callPort(running.ports.socket, 'GET', '/api/v1/keys/foreign/explain')
        ).json() as { replicaSet: string[] }
        const [host, port] = replicaSet[0]!.split(':')
        const client = new Redis(Number(port), host!)
        try {
          await client.set('foreign', 'theirs', 'EX', 50)
          const got = (await callPort(running.ports.socket, 'GET', '/api/v1/keys/foreign')).json()
          expect(got).to.include({ value: 'theirs', version: '0'.repeat(24) })
          expect(got.ttl).to.be.within(48, 50)
          expect(await list('&match=foreign')).to.deep.equal(['foreign'])
          await callPort(running.ports.socket, 'PUT', '/api/v1/keys/foreign', { body: { value: 'ours' } })
          const after = (await callPort(running.ports.socket, 'GET', '/api/v1/keys/foreign')).json()
          expect(after).to.include({ value: 'ours', ttl: 0 })
        } finally {
          await callPort(running.ports.socket, 'DELETE', '/api/v1/keys/foreign')
          client.disconnect()
        }
      })
    }
  })
}
