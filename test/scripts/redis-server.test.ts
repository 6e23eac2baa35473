import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { freePort, type RedisServer, startRedis, startRedisCluster } from '../../scripts/redis-server.ts'

describe('real redis-server processes for tests', () => {
  const started: RedisServer[] = []
  const start = async (...args: Parameters<typeof startRedis>) => {
    const server = await startRedis(...args)
    started.push(server)
    return server
  }
  afterEach(async () => {
    await Promise.all(started.splice(0).map((server) => server.stop()))
  })

  it('starts one on a free port of the loopback address', async () => {
    const redis = await start()
    expect(redis.url).to.equal(`redis://127.0.0.1:${redis.port}`)
    expect(await send(redis, 'PING')).to.equal('+PONG')
    expect(await send(redis, 'CONFIG GET bind')).to.include('127.0.0.1')
    expect(isAlive(redis.pid)).to.equal(true)
  })

  it('stop leaves no process and no folder, also of a paused server', async () => {
    for (const paused of [false, true]) {
      const redis = await start()
      const pid = redis.pid
      if (paused) await redis.pause()
      await redis.stop()
      expect(redis.pid).to.equal(undefined)
      expect(isAlive(pid)).to.equal(false)
      expect(existsSync(redis.dir)).to.equal(false)
      await redis.stop() // again does nothing
    }
  })

  it('kill refuses connections; restart comes back empty on the same port', async () => {
    const redis = await start()
    const { port, pid } = redis
    await send(redis, 'SET k v')
    await redis.kill()
    expect(isAlive(pid)).to.equal(false)
    expect(await send(redis, 'PING').catch((error: NodeJS.ErrnoException) => error.code)).to.equal(
      'ECONNREFUSED',
    )
    await redis.restart()
    expect(redis.port).to.equal(port)
    expect(redis.pid).not.to.equal(pid)
    expect(await send(redis, 'GET k')).to.equal('$-1')
  })

  it('with an append-only file a restart remembers, and wipe forgets', async () => {
    const redis = await start({ args: ['--appendonly', 'yes'] })
    await send(redis, 'SET k v')
    await redis.restart()
    expect(await send(redis, 'GET k')).to.equal('$1\r\nv')
    await redis.pause()
    await redis.restart({ wipe: true })
    expect(await send(redis, 'GET k')).to.equal('$-1')
    expect(await readdir(redis.dir)).to.deep.equal(['appendonlydir'])
  })

  it('a paused server accepts and answers nothing until it is resumed', async () => {
    const redis = await start()
    await redis.pause()
    const answer = send(redis, 'PING')
    expect(await Promise.race([answer, delay(100, 'silence')])).to.equal('silence')
    redis.resume()
    expect(await answer).to.equal('+PONG')
  })

  it('starts several side by side, each with a port of its own', async () => {
    const servers = await startRedisCluster(4)
    started.push(...servers)
    expect(new Set(servers.map((server) => server.port)).size).to.equal(4)
    expect(await Promise.all(servers.map((server) => send(server, 'PING')))).to.deep.equal(
      Array(4).fill('+PONG'),
    )
  })

  it('tells with the words of the server why it did not start', async () => {
    const failure = await startRedis({ args: ['--no-such-option', 'x'] }).catch((error: unknown) => error)
    expect(String(failure)).to.match(/ended while starting[^]*no-such-option/)
  })

  it('does not take another server that holds the port for its own', async () => {
    const port = await freePort()
    const squatter = createServer((socket) => socket.on('data', () => socket.write('+PONG\r\n')))
    squatter.listen(port, '127.0.0.1')
    await once(squatter, 'listening')
    try {
      const failure = await startRedis({ port }).catch((error: unknown) => error)
      expect(String(failure)).to.match(/ended while starting[^]*in use/)
      const first = await start()
      const second = await startRedis({ port: first.port }).catch((error: unknown) => error)
      expect(String(second)).to.match(/ended while starting/)
    } finally {
      squatter.close()
    }
  })

  it('a password does not keep it from being seen as ready', async () => {
    const redis = await start({ args: ['--requirepass', 'secret'] })
    expect(await send(redis, 'PING')).to.match(/^-NOAUTH/)
  })

  for (const how of ['process.exit(3)', "process.kill(process.pid, 'SIGKILL')"]) {
    it(`${how} of the tests' own process leaves no server behind, running or paused`, async () => {
      const script = `
        const { startRedisCluster } = await import('./scripts/redis-server.ts')
        const [a, b] = await startRedisCluster(2)
        await b.pause()
        console.log(JSON.stringify({ pids: [a.pid, b.pid], dirs: [a.dir, b.dir] }))
        setInterval(() => {}, 1000)
        process.stdout.write('', () => { ${how} })`
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let output = ''
      child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
      await once(child, 'close')
      const { pids, dirs } = JSON.parse(output) as { pids: number[]; dirs: string[] }
      expect(pids).to.have.length(2)
      const left = () => [...pids.filter(isAlive), ...dirs.filter((dir) => existsSync(dir))]
      for (let tries = 0; left().length > 0 && tries < 300; tries++) await delay(10)
      expect(left()).to.deep.equal([])
    })
  }
})

/** Sends one inline command and gives its reply, without the last line end. */
function send(server: RedisServer, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: server.port, host: '127.0.0.1' })
    let reply = ''
    socket.on('error', reject)
    socket.on('connect', () => socket.write(`${command}\r\nQUIT\r\n`))
    socket.setEncoding('utf8').on('data', (text: string) => (reply += text))
    socket.on('end', () => resolve(reply.replace(/\r\n\+OK\r\n$/, '')))
  })
}

function isAlive(pid: number | undefined): boolean {
  if (pid === undefined) return false
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
