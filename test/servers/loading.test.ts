/** Which calls of both servers load what is not there, and which never do; fill leases over both. */
import { expect } from 'chai'
import type { LoadFunction } from '../../src/loader/api.ts'
import { command, RawResp } from '../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

describe('loading by both servers', () => {
  let running: RunningRondo
  let resp: RawResp
  let asked: string[]
  let keys = 0
  const loader: LoadFunction = (key, { database }) => {
    const name = key.toString()
    asked.push(database === 0 ? name : `${database}/${name}`)
    if (name.startsWith('none')) return Promise.resolve(null)
    return name.startsWith('bad') ? Promise.reject(new Error('secret')) : Promise.resolve(`value of ${name}`)
  }

  before(async () => {
    const env = { COMPAT_APIS: 'upstash,ringg', LOADER_NEGATIVE_TTL_SECONDS: '60' }
    running = await startRondo(env, { loader })
    resp = await RawResp.open(running.rondo.respServer.port)
  })
  beforeEach(() => (asked = []))
  after(async () => {
    resp.socket.destroy()
    await running.stop()
  })

  const cold = () => `cold-${++keys}`
  const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`

  function http(method: string, path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`http://127.0.0.1:${running.ports.socket}${path}`, { method, ...init })
  }

  const json = (body: unknown): RequestInit => ({
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })

  it('loads for GET and MGET of the Redis protocol', async () => {
    const [one, two] = [cold(), cold()]
    expect(await resp.ask('GET', one)).to.equal(bulk(`value of ${one}`))
    expect(await resp.ask('GET', one)).to.equal(bulk(`value of ${one}`))
    expect(await resp.ask('MGET', one, two, 'none')).to.equal(
      `*3\r\n${bulk(`value of ${one}`)}${bulk(`value of ${two}`)}$-1\r\n`,
    )
    expect(asked).to.have.members([one, two, 'none'])
    expect(await resp.ask('GET', 'none')).to.equal('$-1\r\n')
    expect(asked).to.have.length(3)
  })

  it('loads for GET, mget, commands and dialects over HTTP', async () => {
    const key = cold()
    const got = await http('GET', `/api/v1/keys/${key}`)
    expect(await got.json()).to.include({ value: `value of ${key}`, key })
    expect(Number((await resp.ask('TTL', key)).slice(1))).to.be.within(270, 300)
    const batch = await http('POST', '/api/v1/mget', json({ keys: [key, cold()] }))
    expect(((await batch.json()) as { results: { value: string }[] }).results[1]!.value).to.match(/^value of/)
    const command = await http('POST', '/api/v1/command', json({ command: ['GET', cold()] }))
    expect(await command.json())
      .to.have.property('result')
      .that.matches(/^value of/)
    expect(await (await http('GET', `/cache/${cold()}`)).text()).to.match(/^value of/)
    expect(asked).to.have.length(4)
    expect((await http('GET', '/api/v1/keys/none-at-all')).status).to.equal(404)
  })

  it('tells that loading failed, and not why', async () => {
    const failed = await http('GET', '/api/v1/keys/bad')
    expect(failed.status).to.equal(502)
    expect(await failed.json()).to.include({ code: 'LOAD_FAILED', error: 'The loader failed.' })
    expect(await resp.ask('GET', 'bad')).to.equal('-TRYAGAIN The loader failed.\r\n')
    expect(await resp.ask('MGET', cold(), 'bad')).to.match(/^-TRYAGAIN/)
    expect(asked.filter((key) => key === 'bad')).to.have.length(1)
  })

  it('asks the function for keys of other databases by their database', async () => {
    const key = cold()
    await resp.ask('SELECT', '3')
    expect(await resp.ask('GET', key)).to.equal(bulk(`value of ${key}`))
    await resp.ask('SELECT', '0')
    expect(asked).to.deep.equal([`3/${key}`])
  })

  for (const line of [
    ...[
      'EXISTS k',
      'STRLEN k',
      'TTL k',
      'PTTL k',
      'TYPE k',
      'GETRANGE k 0 1',
      'GETEX k EX 5',
      'GETDEL k',
      'TOUCH k',
    ],
    ...[
      'SET k v XX',
      'GETSET k v',
      'INCR n',
      'APPEND a v',
      'SETNX s v',
      'COPY k l',
      'DUMP k',
      'SORT k',
      'HGETALL k',
    ],
  ]) {
    it(`never loads for ${line}`, async () => {
      await resp.ask(...line.split(' '))
      expect(asked).to.deep.equal([])
      await resp.ask('DEL', 'k', 'n', 'a', 's', 'l')
    })
  }

  it('never loads for HEAD, conditional calls and operations', async () => {
    const path = `/api/v1/keys/${cold()}`
    expect((await http('HEAD', path)).status).to.equal(404)
    expect((await http('HEAD', `/cache/${cold()}`)).status).to.equal(404)
    for (const name of ['If-None-Match', 'If-Match', 'If-Modified-Since']) {
      expect((await http('GET', path, { headers: { [name]: '*' } })).status).to.equal(404)
    }
    expect((await http('PUT', path, { headers: { 'If-Match': '*' }, body: 'v' })).status).to.equal(412)
    expect((await http('POST', `${path}/getdel`, json({}))).status).to.equal(404)
    expect((await http('GET', `${path}?fill=0.01`)).status).to.equal(404)
    expect(asked).to.deep.equal([])
  })

  it('never loads inside MULTI, whatever replica sets its keys have', async () => {
    const many = Array.from({ length: 8 }, cold)
    for (const all of [many.slice(0, 1), many]) {
      await resp.ask('MULTI')
      for (const key of all) await resp.ask('GET', key)
      await resp.ask('MGET', ...all)
      const nils = (count: number) => '$-1\r\n'.repeat(count)
      expect(await resp.ask('EXEC')).to.equal(
        `*${all.length + 1}\r\n${nils(all.length)}*${all.length}\r\n${nils(all.length)}`,
      )
    }
    const commands = many.map((key) => ['GET', key])
    const exec = await http('POST', '/upstash/multi-exec', json(commands))
    expect(await exec.json()).to.deep.equal(many.map(() => ({ result: null })))
    expect(asked).to.deep.equal([])
  })

  it('gives a client of the Redis protocol the lease, and takes what it has loaded', async () => {
    const key = cold()
    const filled = await resp.ask('RONDO', 'FILL', key)
    const token = /^\*3\r\n\$4\r\nload\r\n\$-1\r\n\$52\r\n([0-9a-f]{52})\r\n$/.exec(filled)![1]!
    expect(await resp.ask('RONDO', 'FILL', key, '0.01')).to.equal('*3\r\n$4\r\nwait\r\n$-1\r\n$-1\r\n')
    expect(await resp.ask('RONDO', 'FILLED', key, token, 'own', 'EX', '60')).to.equal(':1\r\n')
    expect(await resp.ask('RONDO', 'FILL', key)).to.equal('*3\r\n$3\r\nhit\r\n$3\r\nown\r\n$-1\r\n')
    expect(await resp.ask('TTL', key)).to.match(/^:(59|60)\r\n$/)
    expect(await resp.ask('RONDO', 'FILLED', key, token, 'again')).to.equal(':0\r\n')
    expect(asked).to.deep.equal([])
  })

  it('refuses what is no fill', async () => {
    const lease = '0'.repeat(52)
    for (const [args, error] of [
      [['FILL', 'k', '0'], /^-ERR the timeout must be/],
      [['FILL', 'k', '61'], /^-ERR the timeout must be/],
      [['FILL', 'k', 'nan'], /^-ERR the timeout must be/],
      [['FILL', 'k', '1', '1'], /^-ERR syntax error/],
      [['FILL', '__rondo:x'], /^-ERR Keys that begin/],
      [['FILLED', 'k', 'token', 'v'], /^-ERR the token/],
      [['FILLED', 'k', lease, 'v', 'EX'], /^-ERR syntax error/],
      [['FILLED', 'k', lease, 'v', 'AT', '1'], /^-ERR syntax error/],
      [['FILLED', 'k', lease, 'v', 'EX', '0'], /^-ERR invalid expire time/],
      [['FILLED', 'k', lease, 'v', 'EX', '1', 'EX'], /^-ERR syntax error/],
    ] as const)
      expect(await resp.ask('RONDO', ...args), args.join(' ')).to.match(error)
    await resp.ask('MULTI')
    await resp.ask('RONDO', 'FILL', 'k')
    await resp.ask('RONDO', 'FILLED', 'k', lease, 'v')
    expect(await resp.ask('EXEC')).to.match(
      /^\*2\r\n-ERR RONDO FILL is not allowed.*\r\n-ERR RONDO FILLED is not/,
    )
    await resp.ask('LPUSH', 'list', 'v')
    expect(await resp.ask('RONDO', 'FILL', 'list')).to.match(/^-WRONGTYPE/)
    await resp.ask('DEL', 'list')
  })

  it('gives no lease to a client that has hung up while it waited', async () => {
    const key = cold()
    const [, token] = /([0-9a-f]{52})/.exec(await resp.ask('RONDO', 'FILL', key))!
    const leaving = await RawResp.open(running.rondo.respServer.port)
    leaving.send(command('RONDO', 'FILL', key, '60'))
    leaving.socket.end()
    while (![...running.rondo.respServer.connections].some(({ inputEnded }) => inputEnded))
      await new Promise((resolve) => setImmediate(resolve))
    await resp.ask('RONDO', 'FILLED', key, token!)
    expect(await resp.ask('RONDO', 'FILL', key)).to.match(/^\*3\r\n\$4\r\nload/)
  })

  it('gives a client of HTTP the lease, and takes what it has loaded', async () => {
    const path = `/api/v1/keys/${cold()}`
    const missed = await http('GET', `${path}?fill=5`)
    const token = missed.headers.get('Rondo-Fill')!
    expect([missed.status, token.length]).to.deep.equal([404, 52])
    expect((await http('GET', `${path}?fill=0.01`)).status).to.equal(409)
    expect((await http('DELETE', `${path}?fill=${token}`)).status).to.equal(204)
    const again = (await http('GET', `${path}?fill=5`)).headers.get('Rondo-Fill')!
    const stored = await http('PUT', `${path}?fill=${again}&ttl=60`, { body: 'own' })
    expect(stored.status).to.equal(200)
    const hit = await http('GET', `${path}?fill=5`)
    expect([hit.status, hit.headers.get('Rondo-Fill')]).to.deep.equal([200, null])
    expect(await hit.json()).to.include({ value: 'own', ttl: 60 })
    const late = await http('PUT', `${path}?fill=${again}`, { body: 'again' })
    expect([late.status, ((await late.json()) as { code: string }).code]).to.deep.equal([
      412,
      'PRECONDITION_FAILED',
    ])
    for (const [method, query, headers] of [
      ['GET', 'fill=', {}],
      ['GET', 'fill=1e3', {}],
      ['PUT', 'fill=1', {}],
      ['PUT', `fill=${again}`, { 'If-None-Match': '*' }],
      ['DELETE', 'fill=x', {}],
    ] as const) {
      const body = method === 'PUT' ? { body: 'v' } : {}
      expect(
        (await http(method, `${path}?${query}`, { headers, ...body })).status,
        `${method} ${query}`,
      ).to.equal(400)
    }
  })
})

describe('deletes of keys that hold nothing, while a client loads them', () => {
  const DELETES: readonly (readonly string[])[][] = [
    [['DEL', '{k}other', 'KEY']],
    [['UNLINK', 'KEY']],
    [['GETDEL', 'KEY']],
    [['DELEX', 'KEY']],
    [['MULTI'], ['DEL', 'KEY'], ['EXEC']],
    [['EVAL', "return redis.call('DEL', KEYS[1])", '1', 'KEY']],
  ]
  const LOADERS = {
    'with a loader': { loader: () => Promise.resolve('value') },
    'without a loader': {},
  }
  for (const [name, options] of Object.entries(LOADERS)) {
    describe(name, () => {
      let running: RunningRondo
      let resp: RawResp
      let keys = 0
      before(async () => {
        running = await startRondo({}, options)
        resp = await RawResp.open(running.rondo.respServer.port)
      })
      after(async () => {
        resp.socket.destroy()
        await running.stop()
      })

      const outdated = async (remove: (key: string) => Promise<unknown>) => {
        const key = `key-${++keys}`
        const [, token] = /([0-9a-f]{52})/.exec(await resp.ask('RONDO', 'FILL', key))!
        await remove(key)
        expect(await resp.ask('RONDO', 'FILLED', key, token!, 'outdated')).to.equal(':0\r\n')
        expect(await resp.ask('EXISTS', key)).to.equal(':0\r\n')
      }
      for (const lines of DELETES) {
        it(`of ${lines.flat().join(' ')} win`, () =>
          outdated(async (key) => {
            for (const line of lines) await resp.ask(...line.map((word) => (word === 'KEY' ? key : word)))
          }))
      }
      for (const [path, body] of [
        ['keys/KEY/getdel', {}],
        ['command', { command: ['DEL', 'KEY'] }],
        ['mdelete', { keys: ['KEY'] }],
      ] as const) {
        it(`of ${path} over HTTP win`, () =>
          outdated(async (key) => {
            const url = `http://127.0.0.1:${running.ports.socket}/api/v1/${path.replace('KEY', key)}`
            const headers = { 'Content-Type': 'application/json' }
            await fetch(url, { method: 'POST', headers, body: JSON.stringify(body).replace('KEY', key) })
          }))
      }
    })
  }
})

describe('stale values', () => {
  it('are gone after a DEL, although for DEL there was nothing', async () => {
    const running = await startRondo({ LOADER_STALE_SECONDS: '60' })
    const resp = await RawResp.open(running.rondo.respServer.port)
    try {
      const [, token] = /([0-9a-f]{52})/.exec(await resp.ask('RONDO', 'FILL', 'k', '1'))!
      expect(await resp.ask('RONDO', 'FILLED', 'k', token!, 'old', 'PX', '1')).to.equal(':1\r\n')
      while ((await resp.ask('EXISTS', 'k')) !== ':0\r\n');
      expect(await resp.ask('RONDO', 'FILL', 'k', '1')).to.include('old')
      expect(await resp.ask('DEL', 'k')).to.equal(':0\r\n')
      expect(await resp.ask('RONDO', 'FILL', 'k', '1')).not.to.include('old')
    } finally {
      resp.socket.destroy()
      await running.stop()
    }
  })
})

describe('loading that is off', () => {
  it('leaves a miss a miss', async () => {
    const running = await startRondo()
    try {
      expect((await fetch(`http://127.0.0.1:${running.ports.socket}/api/v1/keys/k`)).status).to.equal(404)
    } finally {
      await running.stop()
    }
  })
})
