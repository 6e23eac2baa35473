// The program as its user runs it: dist/main.js in a process of its own, alone and with several workers.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { Program } from './support/program.ts'
import { call, RawConnection, requestBytes } from './support/raw-http.ts'
import { RawResp } from './support/raw-resp.ts'
import { type RedisServer, startRedisCluster } from '../scripts/redis-server.ts'

describe('the program', function () {
  this.timeout(20_000)
  const started: Program[] = []
  const run = (...args: ConstructorParameters<typeof Program>) => {
    const program = new Program(...args)
    started.push(program)
    return program
  }
  afterEach(() => Promise.all(started.splice(0).map((program) => program.stop())))

  describe('alone', () => {
    it('says where it listens with a line to try, and that values are lost when it stops, and ends on SIGTERM', async () => {
      const program = run({})
      const port = await program.listening()
      expect(program.stdout).to.include(`curl -X PUT http://localhost:${port}/api/v1/keys/hello`)
      await program.logged('lost when it stops')
      await call(port, 'PUT', '/api/v1/keys/hello', { body: { value: 'world' } })
      expect((await call(port, 'GET', '/api/v1/keys/hello')).json().value).to.equal('world')
      for (const { time } of program.log) expect(time).to.match(/^20\d\d-\d\d-\d\dT[\d:.]+Z$/)
      program.signal('SIGTERM')
      expect(await program.ended).to.deep.equal({ code: 0, signal: null })
    })

    it('answers what it has begun before it ends, and takes nothing new', async () => {
      const program = run({})
      const port = await program.listening()
      const idle = await RawConnection.open(port)
      idle.send(requestBytes('GET', '/ping'))
      expect((await idle.answer()).status).to.equal(200)
      const busy = await RawConnection.open(port)
      const request = requestBytes('PUT', '/api/v1/keys/slow', { body: { value: 'v'.repeat(1000) } })
      busy.send(request.subarray(0, 300))
      await call(port, 'GET', '/ping') // by now the server has seen the half

      program.signal('SIGTERM')
      await idle.closed()
      await program.until(async () => ((await isOpen(port)) ? undefined : true))
      const before = performance.now()
      busy.send(request.subarray(300))
      expect((await busy.answer()).status).to.equal(200)
      expect(await program.ended).to.deep.equal({ code: 0, signal: null })
      expect(performance.now() - before, 'a connection that is idle again is not waited for').to.be.below(
        1000,
      )
    })

    it('one more request on a connection that was open is answered, with Connection: close', async () => {
      const program = run({})
      const port = await program.listening()
      const busy = await RawConnection.open(port)
      const request = requestBytes('PUT', '/api/v1/keys/slow', { body: { value: 'v' } })
      busy.send(request.subarray(0, request.length - 1))
      await call(port, 'GET', '/ping')
      program.signal('SIGTERM')
      await program.until(async () => ((await isOpen(port)) ? undefined : true))
      busy.send(Buffer.concat([request.subarray(-1), requestBytes('GET', '/api/v1/keys/slow')]))
      expect((await busy.answer()).status).to.equal(200)
      const last = await busy.answer()
      expect(last.json().value).to.equal('v')
      expect(last.headers.connection).to.equal('close')
      expect((await program.ended).code).to.equal(0)
    })

    it('a client that never finishes does not keep it', async () => {
      const program = run({ REQUEST_TIMEOUT_MS: '300' })
      const port = await program.listening()
      const connection = await RawConnection.open(port)
      connection.send('PUT /api/v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n')
      await call(port, 'GET', '/ping')
      const before = performance.now()
      program.signal('SIGTERM')
      expect(await program.ended).to.deep.equal({ code: 0, signal: null })
      expect(performance.now() - before).to.be.below(3000)
    })
  })

  for (const workers of ['1', '2']) {
    describe(`for SHUTDOWN_DELAY_SECONDS after SIGTERM, with ${workers === '1' ? 'one process' : 'two workers'}`, () => {
      let servers: RedisServer[]
      before(async () => (servers = await startRedisCluster(1)))
      after(() => Promise.all(servers.map((server) => server.stop())))
      const start = async (seconds: string) => {
        const program = run({
          ...{ REDIS_URLS: servers[0]!.url, WORKERS: workers, SHUTDOWN_DELAY_SECONDS: seconds },
        })
        const port = await program.listening()
        const respPort = Number(/redis-cli -p (\d+)/.exec(program.stdout)![1])
        return { program, port, respPort }
      }
      const drains = (program: Program, port: number) =>
        program.until(async () => (await call(port, 'GET', '/readyz')).status === 503 || undefined)

      it('is not ready at once, and serves all the same; HTTP connections end with their next response', async () => {
        const { program, port, respPort } = await start('1')
        const open = await RawConnection.open(port)
        open.send(requestBytes('PUT', '/api/v1/keys/drain', { body: { value: 'v' } }))
        expect((await open.answer()).headers.connection).not.to.equal('close')
        const client = await RawResp.open(respPort)
        expect(await client.ask('GET', 'drain')).to.equal('$1\r\nv\r\n')
        const before = performance.now()
        program.signal('SIGTERM')
        await drains(program, port)
        const kept = async (connection: RawConnection, method: string, path: string) => {
          connection.send(requestBytes(method, path))
          const answer = await connection.answer()
          expect(answer.headers.connection, path).to.equal('close')
          await connection.closed()
          return answer.status
        }
        expect(await kept(open, 'GET', '/api/v1/keys/drain')).to.equal(200)
        for (const [path, status] of [
          ['/api/v1/keys/drain', 200],
          ['/livez', 200],
          ['/readyz', 503],
        ] as const) {
          expect(await kept(await RawConnection.open(port), 'GET', path), path).to.equal(status)
        }
        const late = await RawResp.open(respPort)
        for (const one of [client, late]) expect(await one.ask('GET', 'drain')).to.equal('$1\r\nv\r\n')
        expect(await client.rest(), 'no error: it was idle').to.equal('')
        expect(performance.now() - before, 'it was served until the end of the delay').to.be.above(990)
        expect(await program.ended).to.deep.equal({ code: 0, signal: null })
        expect(program.log.filter(({ level }) => (level as number) >= 50)).to.deep.equal([])
      })

      it('a second signal stops it at once', async () => {
        const { program, port } = await start('60')
        program.signal('SIGTERM')
        await drains(program, port)
        program.signal('SIGINT')
        expect(await program.ended).to.deep.equal({ code: 1, signal: null })
      })
    })
  }

  it('a Redis client that is in the middle of a command, or of a transaction, finishes it before the stop', async () => {
    const program = run({})
    await program.listening()
    const respPort = Number(/redis-cli -p (\d+)/.exec(program.stdout)![1])
    const open = async (first: string) => {
      const client = await RawResp.open(respPort)
      expect(await client.ask('PING')).to.equal('+PONG\r\n')
      client.send(first)
      return client
    }
    const half = await open('*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nva')
    const multi = await open('MULTI\r\n')
    expect(await multi.reply()).to.equal('+OK\r\n')
    const idle = await open('')
    program.signal('SIGTERM')
    expect(await idle.rest()).to.equal('')
    half.send('lue\r\n')
    expect(await half.reply()).to.equal('+OK\r\n')
    expect(await multi.ask('SET', 'm', '1')).to.equal('+QUEUED\r\n')
    expect(await multi.ask('EXEC')).to.equal('*1\r\n+OK\r\n')
    expect(await multi.rest()).to.equal('')
    expect((await program.ended).code).to.equal(0)
  })

  it('npm start ends when it gets SIGTERM itself', async () => {
    const npm = spawn('npm', ['start', '--ignore-scripts'], {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      env: { ...process.env, REDIS_URLS: '', PORT: '0', RESP_PORT: '0', WORKERS: '1' },
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    })
    let stdout = ''
    const listens = new Promise<string>((resolve) => {
      npm.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout += text
        const port = /listens on \w+:\/\/\S+:(\d+)$/m.exec(stdout)?.[1]
        if (port !== undefined) resolve(port)
      })
    })
    const ended = once(npm, 'exit')
    try {
      const port = Number(await listens)
      npm.kill('SIGTERM')
      await ended
      expect(await isOpen(port), 'the program ended with npm').to.equal(false)
    } finally {
      endGroup(npm.pid!)
    }
  })

  describe('on SIGHUP', () => {
    const OLD = 'old-data-token-0123456789'
    const NEW = 'new-data-token-0123456789'
    let servers: RedisServer[]
    let dir: string
    before(async () => (servers = await startRedisCluster(1)))
    after(() => Promise.all(servers.map((server) => server.stop())))
    beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'rondo-tokens-'))))
    afterEach(() => rmSync(dir, { recursive: true }))

    for (const [title, workers, to] of [
      ['one process', '1', 'process'],
      ['two workers', '2', 'process'],
      ['two workers and the whole group', '2', 'group'],
    ] as const) {
      it(`reads token files again, drops no connection and does not end: ${title}`, async () => {
        const file = join(dir, 'tokens')
        writeFileSync(file, `${OLD}\n`)
        const env = { REDIS_URLS: servers[0]!.url, WORKERS: workers, DATA_TOKEN_FILE: file }
        const program = run(env, { group: to === 'group' })
        const port = await program.listening()
        const respPort = Number(/redis-cli -p (\d+)/.exec(program.stdout)![1])
        const rereadings = (part: RegExp) => program.log.filter(({ msg }) => part.test(String(msg))).length
        // Both workers, and twice where the group is signalled.
        const expected = Number(workers) * (to === 'group' ? 2 : 1)
        let [good, bad] = [0, 0]
        const reread = async (text: string, isGood: boolean) => {
          writeFileSync(file, text)
          program.signal('SIGHUP', to)
          if (isGood) good += expected
          else bad += expected
          await program.until(() => rereadings(/^reloaded files \(SIGHUP\)$/) >= good || undefined)
          await program.until(
            () => rereadings(/^cannot reload files \(SIGHUP\), nothing/) >= bad || undefined,
          )
        }
        const opens = async (token: string) => {
          const statuses = new Set<number>()
          const headers = { Authorization: `Bearer ${token}` }
          for (let i = 0; i < 6; i++)
            statuses.add((await call(port, 'GET', '/api/v1/keys/k', { headers })).status)
          return [...statuses]
        }
        const inside = await RawResp.open(respPort)
        expect(await inside.ask('AUTH', OLD)).to.equal('+OK\r\n')
        expect([await opens(OLD), await opens(NEW)]).to.deep.equal([[404], [401]])
        await reread(`${OLD}\n${NEW}\n`, true)
        expect([await opens(OLD), await opens(NEW)]).to.deep.equal([[404], [404]])
        await reread(`${NEW}\nshort`, false)
        expect([await opens(OLD), await opens(NEW)], 'a bad file changes nothing').to.deep.equal([
          [404],
          [404],
        ])
        await reread(`${NEW}\n`, true)
        expect([await opens(OLD), await opens(NEW)]).to.deep.equal([[401], [404]])
        expect(await inside.ask('PING'), 'who was inside stays').to.equal('+PONG\r\n')
        const late = await RawResp.open(respPort)
        expect(await late.ask('AUTH', OLD)).to.match(/^-WRONGPASS /)
        expect(await late.ask('AUTH', NEW)).to.equal('+OK\r\n')
        for (const client of [inside, late]) client.close()
        expect(program.stderr).not.to.include(OLD).and.not.include(NEW)
        expect(rereadings(/^worker/)).to.equal(0)
        program.signal('SIGTERM')
        expect((await program.ended).code).to.equal(0)
      })
    }

    it('does not start with a bad token file, and says which', async () => {
      const program = run({ DATA_TOKEN_FILE: join(dir, 'none'), ADMIN_TOKEN_FILE: dir })
      expect(await program.ended).to.deep.equal({ code: 1, signal: null })
      expect(program.stderr).to.include('DATA_TOKEN_FILE names cannot be read: ENOENT')
      expect(program.stderr).to.include('ADMIN_TOKEN_FILE names cannot be read')
    })
  })

  describe('that cannot start', () => {
    it('names every problem of its configuration at once, and ends with 1', async () => {
      const program = run({ PORT: '99999', READ_CONSISTENCY: 'most', DATA_TOKEN: 'hunter2', MAX_TRIES: '-1' })
      expect(await program.ended).to.deep.equal({ code: 1, signal: null })
      for (const name of ['PORT', 'READ_CONSISTENCY', 'DATA_TOKEN', 'MAX_TRIES', '.env.local.example']) {
        expect(program.stderr).to.include(name)
      }
      expect(program.stderr)
        .not.to.include('hunter2')
        .and.not.match(/at .*\.js:\d/)
      expect(program.stdout).to.equal('')
    })

    for (const workers of ['1', '2'])
      it(`names the setting of a bad TLS path before anything listens, once: ${workers} worker(s)`, async () => {
        const redis = workers === '1' ? {} : { REDIS_URLS: '127.0.0.1:1', CONNECT_TIMEOUT_MS: '50' }
        const program = run({
          WORKERS: workers,
          ...redis,
          TLS_CERT_FILE: '/none/cert.pem',
          TLS_KEY_FILE: '/none/key.pem',
        })
        expect(await program.ended).to.deep.equal({ code: 1, signal: null })
        expect(
          program.stderr.match(/TLS_CERT_FILE is \/none\/cert.pem, which cannot be read \(ENOENT\)/g),
        ).to.have.length(1)
        expect(program.log).to.deep.equal([])
        expect(program.stdout).to.equal('')
      })

    it('names all problems at once, of values and of every file', async () => {
      const files = [
        'TLS_CERT_FILE',
        'TLS_KEY_FILE',
        'TLS_CLIENT_CA_FILE',
        'NODE_TLS_CA_FILE',
        'DATA_TOKEN_FILE',
      ]
      const program = run({
        PORT: 'x',
        MAX_VALUE_BYTES: '1TiB',
        ...Object.fromEntries(files.map((name) => [name, `/none/${name}`])),
      })
      expect(await program.ended).to.deep.equal({ code: 1, signal: null })
      for (const name of ['PORT', 'MAX_VALUE_BYTES', ...files])
        expect(program.stderr.match(new RegExp(`^  - .*\\b${name}\\b`, 'gm')), name).to.have.length(1)
    })

    it('does not share memory nodes between workers', async () => {
      const program = run({ WORKERS: '2' })
      expect(await program.ended).to.deep.equal({ code: 1, signal: null })
      expect(program.stderr).to.include('WORKERS').and.include('REDIS_URLS')
    })

    for (const workers of ['1', '2']) {
      it(`says which PORT is taken, with ${workers} ${workers === '1' ? 'process' : 'workers'}`, async () => {
        const squatter = createServer().listen(0, '127.0.0.1')
        await new Promise((resolve) => squatter.once('listening', resolve))
        const { port } = squatter.address() as AddressInfo
        try {
          const redis = workers === '1' ? {} : { REDIS_URLS: '127.0.0.1:1', CONNECT_TIMEOUT_MS: '50' }
          const program = run({ PORT: String(port), WORKERS: workers, ...redis })
          expect(await program.ended).to.deep.equal({ code: 1, signal: null })
          expect(program.stderr).to.match(new RegExp(`^Port 127\\.0\\.0\\.1:${port} is taken.*PORT`, 'm'))
          expect(program.stdout).to.equal('')
        } finally {
          squatter.close()
        }
      })
    }
  })

  describe('with two workers', () => {
    let servers: RedisServer[]
    before(async () => (servers = await startRedisCluster(3)))
    after(() => Promise.all(servers.map((server) => server.stop())))
    const runTwo = (options: { group?: boolean } = {}) =>
      run({ REDIS_URLS: servers.map(({ url }) => url).join(','), WORKERS: '2' }, options)

    /** The workers that answer, by asking on many connections. */
    const answering = async (port: number): Promise<Set<number>> => {
      const pids = new Set<number>()
      for (let i = 0; i < 20; i++) {
        const { headers } = await call(port, 'GET', '/ping')
        pids.add(parseInt(headers['x-request-id']!.split('-')[0]!, 36)) // the id begins with the pid
      }
      return pids
    }

    it('both answer, see the same data, and /metrics adds them up', async () => {
      const program = runTwo()
      const port = await program.listening()
      expect(port, 'where it really listens, although PORT is 0').to.be.above(0)
      expect((await answering(port)).size).to.equal(2)
      expect(await answering(port)).not.to.include(program.pid)
      for (let i = 0; i < 20; i++)
        await call(port, 'PUT', '/api/v1/keys/shared', { body: { value: String(i) } })
      for (let i = 0; i < 20; i++) {
        expect((await call(port, 'GET', '/api/v1/keys/shared')).json().value).to.equal('19')
      }
      for (let i = 0; i < 4; i++) {
        const { text } = await call(port, 'GET', '/metrics')
        expect(text).to.match(/_count\{method="PUT",route="\/api\/v1\/keys\/:key",status="200"\} 20$/m)
        expect(text, 'a state is no sum').to.match(/^rondo_node_state\{node="[^"]*",state="up"\} 1$/m)
      }
    })

    it('a worker that is killed is replaced, and the other serves meanwhile', async () => {
      const program = runTwo()
      const port = await program.listening()
      const [victim, other] = [...(await answering(port))]
      process.kill(victim!, 'SIGKILL')
      await program.logged(`worker ${victim} ended (SIGKILL)`)
      expect([...(await answering(port))]).to.deep.equal([other])
      const after = await program.until(async () => {
        const pids = await answering(port)
        return pids.size === 2 ? pids : undefined
      })
      expect([...after])
        .to.include(other)
        .and.not.include(victim)
      expect((await call(port, 'GET', '/metrics')).status).to.equal(200)
    })

    it('a worker that is killed before any of them listens is logged and replaced', async () => {
      const program = runTwo()
      const first = await program.until(() => childrenOf(program.pid)[0])
      process.kill(first, 'SIGKILL')
      await program.logged(`worker ${first} ended (SIGKILL); starting another`)
      const port = await program.listening()
      expect((await answering(port)).size).to.equal(2)
      expect(program.log.filter(({ level }) => (level as number) >= 60)).to.deep.equal([])
    })

    for (const to of ['process', 'group'] as const) {
      it(`SIGTERM to the ${to}: requests that were begun are answered, and no process stays`, async () => {
        const program = runTwo({ group: to === 'group' })
        const port = await program.listening()
        const pids = await answering(port)
        const connections = await Promise.all(Array.from({ length: 6 }, () => RawConnection.open(port)))
        const request = requestBytes('PUT', '/api/v1/keys/slow', { body: { value: 'v'.repeat(1000) } })
        for (const connection of connections) connection.send(request.subarray(0, 300))
        await answering(port) // by now both have seen their halves
        program.signal('SIGTERM', to)
        await program.until(async () => ((await isOpen(port)) ? undefined : true))
        for (const connection of connections) connection.send(request.subarray(300))
        for (const connection of connections) expect((await connection.answer()).status).to.equal(200)
        expect(await program.ended).to.deep.equal({ code: 0, signal: null })
        for (const pid of pids) expect(isAlive(pid), `worker ${pid}`).to.equal(false)
        expect(program.log.filter(({ level }) => (level as number) >= 50)).to.deep.equal([])
      })
    }

    it('SIGKILL of the primary leaves no worker behind', async () => {
      const program = runTwo()
      const pids = await answering(await program.listening())
      await program.stop()
      for (let tries = 0; tries < 300 && [...pids].some(isAlive); tries++) {
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      expect([...pids].filter(isAlive)).to.deep.equal([])
    })
  })
})

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** Ends what is left of a process group. */
function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // nothing is left of it
  }
}

/** Read from /proc: none on another system. */
function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    return text
      .split(' ')
      .filter((word) => word !== '')
      .map(Number)
  } catch {
    return []
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
