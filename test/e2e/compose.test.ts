// docker-compose.yml, Dockerfile and .dockerignore, checked for form and for what they promise. No container
// engine is needed, and none is used: that the images build and run is not shown here. What can be tried
// without one is: the Redis arguments on a real redis-server, and the health check against a real listener.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { posix } from 'node:path'
import { Ajv } from 'ajv'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { parse } from 'yaml'
import { freePort, startRedis } from '../support/redis-server.ts'

interface Service {
  image: string
  command?: string[]
  user?: string
  environment?: Record<string, string | number>
  depends_on?: Record<string, { condition: string }>
  healthcheck?: { test: string[] }
  ports?: string[]
  volumes?: string[]
  read_only?: boolean
  cap_drop?: string[]
  security_opt?: string[]
}
interface Compose {
  services: Record<string, Service>
  volumes: Record<string, null>
}

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const inRepository = (path: string) => existsSync(new URL(`../../${path}`, import.meta.url))
const fourIds = ['redis-1', 'redis-2', 'redis-3', 'redis-4']

describe('docker-compose.yml', () => {
  const compose = parse(read('docker-compose.yml'), { merge: true }) as Compose
  const coordinator = compose.services.rondo!
  const nodes = fourIds.map((id) => compose.services[id]!)

  it('has the form that the Compose specification gives to the parts it uses', () => {
    const ajv = new Ajv({ allErrors: true, strict: true, strictTuples: false, allowUnionTypes: true })
    const validate = ajv.compile(JSON.parse(read('test/e2e/compose.schema.json')) as object)
    validate(compose)
    expect(validate.errors ?? []).to.deep.equal([])
    const misspelt = { ...compose, services: { rondo: { ...coordinator, port: [] } } }
    expect(validate(misspelt)).to.equal(false)
  })

  it('brings up four Redis and the coordinator, which waits until all four are healthy', () => {
    expect(Object.keys(compose.services)).to.deep.equal([...fourIds, 'rondo'])
    expect(coordinator.depends_on).to.deep.equal(
      Object.fromEntries(fourIds.map((id) => [id, { condition: 'service_healthy' }])),
    )
    for (const node of nodes) {
      expect(node.image).to.match(/^redis:\d+\.\d+-alpine$/) // pinned: a new major version is a decision
      expect(node.healthcheck?.test).to.deep.equal(['CMD', 'redis-cli', '-e', 'ping'])
    }
  })

  it('gives the coordinator the four under stable ids', () => {
    const urls = fourIds.map((id) => `${id}=redis://${id}:6379`)
    expect(coordinator.environment?.REDIS_URLS).to.equal(urls.join(','))
  })

  it('keeps each Redis on a volume of its own', () => {
    expect(nodes.map((node) => node.volumes)).to.deep.equal(fourIds.map((id) => [`${id}:/data`]))
    expect(Object.keys(compose.volumes)).to.deep.equal(fourIds)
  })

  it('gives each Redis arguments that a real one takes: append-only, bounded, evicting values only', async () => {
    for (const node of nodes) expect(node.command).to.deep.equal(nodes[0]!.command)
    const [program, ...args] = nodes[0]!.command!
    expect(program).to.equal('redis-server')
    const server = await startRedis({ args })
    const redis = new Redis(server.url, { lazyConnect: true })
    try {
      await redis.connect()
      const setting = async (name: string) => (await redis.config('GET', name))[1]
      expect(await setting('appendonly')).to.equal('yes')
      expect(await setting('maxmemory')).to.equal(String(256 * 1024 * 1024))
      expect(await setting('maxmemory-policy')).to.equal('volatile-lru')
    } finally {
      redis.disconnect()
      await server.stop()
    }
  })

  it('publishes on the loopback address only, since it has no tokens', () => {
    expect(coordinator.ports).to.deep.equal(['127.0.0.1:8080:8080', '127.0.0.1:6390:6390'])
    expect(coordinator.environment).to.include({ HOST: '0.0.0.0', ALLOW_INSECURE: 'true' })
    const published = Object.values(compose.services).flatMap((service) => service.ports ?? [])
    expect(published.filter((port) => !port.startsWith('127.0.0.1:'))).to.deep.equal([])
  })

  it('publishes the four where .env.local.example looks for them, under the same ids', () => {
    const example = /^#?REDIS_URLS=(.*)$/m.exec(read('.env.local.example'))?.[1]
    const published = fourIds.map((id, at) => `${id}=localhost:${nodes[at]!.ports![0]!.split(':')[1]}`)
    expect(example?.replaceAll('redis://', '')).to.equal(published.join(','))
  })

  it('sets only variables that .env.local.example explains', () => {
    for (const name of Object.keys(coordinator.environment ?? {})) {
      expect(read('.env.local.example')).to.match(new RegExp(`^#?${name}=`, 'm'))
    }
  })

  it('runs nothing as root, and takes every privilege away', () => {
    for (const node of nodes) expect(node.user).to.equal('redis')
    for (const service of Object.values(compose.services)) {
      expect(service.cap_drop).to.deep.equal(['ALL'])
      expect(service.security_opt).to.deep.equal(['no-new-privileges:true'])
    }
    expect(coordinator.read_only).to.equal(true)
    expect(coordinator.user).to.equal(undefined) // the image's own, which the next suite checks
  })
})

describe('Dockerfile', () => {
  const stages = parseDockerfile(read('Dockerfile'))
  const final = stages.at(-1)!
  const last = (name: string) => final.instructions.filter((instruction) => instruction.name === name).at(-1)!
  const healthCheck = JSON.parse(/CMD (\[.*\])$/.exec(last('HEALTHCHECK').rest)![1]!) as string[]

  it('builds in stages, and the last has neither sources nor development packages', () => {
    expect(stages.map((stage) => stage.alias)).to.deep.equal(['build', 'dependencies', undefined])
    for (const stage of stages) expect(stage.image).to.match(/^node:20-/) // the oldest that package.json allows
    expect(final.instructions.filter(({ name }) => name === 'RUN')).to.deep.equal([])
    const copied = final.instructions
      .flatMap((instruction) => copies(instruction))
      .map(({ source }) => source)
    expect(copied).to.deep.equal(['package.json', '/app/node_modules', '/app/dist'])
    const dependencies = stages[1]!.instructions.find(({ name }) => name === 'RUN')
    expect(dependencies?.rest).to.equal('npm ci --omit=dev --ignore-scripts')
  })

  it('copies only what the repository sends, or what an earlier stage has made', () => {
    const ignored = dockerIgnore(read('.dockerignore'))
    stages.forEach((stage, at) => {
      for (const instruction of stage.instructions) {
        for (const { source, from } of copies(instruction)) {
          if (from === undefined) {
            expect(inRepository(source), `${source} exists`).to.equal(true)
            expect(ignored(source), `${source} is kept out by .dockerignore`).to.equal(false)
          } else {
            const earlier = stages.slice(0, at).find((candidate) => candidate.alias === from)
            expect(earlier && made(earlier), `${source} of ${from}`).to.include(source)
          }
        }
      }
    })
  })

  it('sends no secrets, history or foreign packages to the engine', () => {
    const ignored = dockerIgnore(read('.dockerignore'))
    for (const path of ['.env.local', '.git', 'node_modules', 'dist', 'test']) {
      expect(ignored(path), path).to.equal(true)
    }
  })

  it('runs as a user who is not root, from before its command on', () => {
    const names = final.instructions.map(({ name }) => name)
    expect(last('USER').rest).to.equal('node')
    expect(names.indexOf('USER')).to.be.lessThan(names.indexOf('CMD'))
  })

  it('starts the program without a shell, so that SIGTERM reaches it', () => {
    const command = JSON.parse(last('CMD').rest) as string[]
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
    expect(command.join(' ')).to.equal(scripts.start)
    expect(final.instructions.some(({ name }) => name === 'ENTRYPOINT')).to.equal(false)
    expect(last('EXPOSE').rest).to.equal('8080 6390')
    expect(last('ENV').rest.split(' ')).to.have.members(['NODE_ENV=production', 'RONDO_IMAGE=true'])
  })

  it('checks its health with node alone: well when /livez says so on PORT, ill otherwise', async () => {
    expect(healthCheck.slice(0, 2)).to.deep.equal(['node', '-e'])
    let status = 200
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(request.url ?? '')
      response.writeHead(status).end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const port = String((server.address() as AddressInfo).port)
    const run = async (at: string) => {
      const child = spawn(process.execPath, healthCheck.slice(1), { env: { PORT: at }, stdio: 'inherit' })
      const [code] = (await once(child, 'close')) as [number]
      return code
    }
    try {
      expect(await run(port)).to.equal(0)
      expect(asked).to.deep.equal(['/livez'])
      status = 503
      expect(await run(port)).to.equal(1)
      expect(await run(String(await freePort()))).to.equal(1)
    } finally {
      server.close()
    }
  })
})

interface Instruction {
  name: string
  rest: string
}
interface Stage {
  image: string
  alias: string | undefined
  instructions: Instruction[]
}

/** Enough of the Dockerfile's grammar for ours; a line that it does not understand is an error. */
function parseDockerfile(text: string): Stage[] {
  const stages: Stage[] = []
  const lines = text.replace(/^\s*#.*\n/gm, '').replace(/\\\n\s*/g, '')
  for (const line of lines.split('\n').filter((candidate) => candidate.trim() !== '')) {
    const parts = /^(FROM|WORKDIR|COPY|RUN|ENV|USER|EXPOSE|HEALTHCHECK|CMD|ENTRYPOINT) (.+)$/.exec(line)
    if (!parts) throw new Error(`not understood: ${line}`)
    const [, name, rest] = parts as unknown as [string, string, string]
    if (name !== 'FROM') {
      stages.at(-1)!.instructions.push({ name, rest })
      continue
    }
    const from = /^(\S+)(?: AS (\S+))?$/.exec(rest)
    if (!from) throw new Error(`not understood: ${line}`)
    stages.push({ image: from[1]!, alias: from[2], instructions: [] })
  }
  return stages
}

function copies({ name, rest }: Instruction): { source: string; from: string | undefined }[] {
  if (name !== 'COPY') return []
  const words = rest.split(' ')
  const from = words[0]!.startsWith('--from=') ? words.shift()!.slice('--from='.length) : undefined
  return words.slice(0, -1).map((source) => ({ source, from }))
}

/** What npm's commands leave in a stage's folder. */
function made(stage: Stage): string[] {
  const folder = stage.instructions.find(({ name }) => name === 'WORKDIR')?.rest ?? '/'
  const runs = stage.instructions.filter(({ name }) => name === 'RUN').map(({ rest }) => rest)
  return [
    ...(runs.some((run) => run.startsWith('npm ci')) ? [posix.join(folder, 'node_modules')] : []),
    ...(runs.includes('npm run build') ? [posix.join(folder, 'dist')] : []),
  ]
}

/** The rules of .dockerignore for names at the top: the last pattern that fits wins, `!` lets through. */
function dockerIgnore(text: string): (path: string) => boolean {
  const rules = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return (path) => {
    const fits = rules.filter((rule) => rule === '*' || rule.replace(/^!/, '') === path)
    return fits.length > 0 && !fits.at(-1)!.startsWith('!')
  }
}
