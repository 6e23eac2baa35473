// docker-compose.yml, Dockerfile and .dockerignore, checked for form and for what they promise. No container
// engine is needed, and none is used: that the images build and run is not shown here. What can be tried
// without one is: the Redis arguments on a real redis-server, and the health check against a real listener.
import { spawn, spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { parse as parseEnv } from 'dotenv'
import { parse } from 'yaml'
import { findRedisServer } from '../../scripts/find-redis-server.mjs'
import { loadConfig } from '../../src/config/config.ts'
import { freePort } from '../../scripts/redis-server.ts'

interface Service {
  image: string
  command?: string[]
  user?: string
  environment?: Record<string, string | number>
  depends_on?: Record<string, { condition: string }>
  healthcheck?: { test: string[] }
  ports?: string[]
  volumes?: string[]
  restart?: string
  mem_limit?: string
  pids_limit?: number
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

const SECRETS = ['DATA_TOKEN', 'ADMIN_TOKEN', 'REDIS_PASSWORD'] as const
const secrets: Record<string, string> = {
  DATA_TOKEN: 'data-token-of-the-test',
  ADMIN_TOKEN: 'admin-token-of-the-test',
  REDIS_PASSWORD: '0123456789abcdef',
}

/** The parts of Compose's interpolation that the file uses: `$$`, `${NAME}`, `${NAME:?why}`. */
function interpolated(text: string, env: Record<string, string>): string {
  return text.replace(/\$(?:\$|\{(\w+)(?::\?([^}]*))?\})/g, (whole, name?: string, why?: string) => {
    if (name === undefined) return '$'
    if (env[name]) return env[name]
    throw new Error(why === undefined ? `${whole} is not set` : `${name} ${why}`)
  })
}

function composeWith(env: Record<string, string>): Compose {
  const resolve = (value: unknown): unknown => {
    if (typeof value === 'string') return interpolated(value, env)
    if (Array.isArray(value)) return value.map(resolve)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resolve(inner)]))
  }
  return resolve(parse(read('docker-compose.yml'), { merge: true })) as Compose
}

describe('docker-compose.yml', () => {
  const compose = composeWith(secrets)
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
    const urls = fourIds.map((id) => `${id}=redis://:${secrets.REDIS_PASSWORD}@${id}:6379`)
    expect(coordinator.environment?.REDIS_URLS).to.equal(urls.join(','))
  })

  it('keeps each Redis on a volume of its own', () => {
    expect(nodes.map((node) => node.volumes)).to.deep.equal(fourIds.map((id) => [`${id}:/data`]))
    expect(Object.keys(compose.volumes)).to.deep.equal(fourIds)
  })

  it('gives each Redis a command that a real one takes: password, append-only, bounded, evicting values only', async () => {
    for (const node of nodes) expect(node.command).to.deep.equal(nodes[0]!.command)
    const [shell, option, script] = nodes[0]!.command!
    expect([shell, option]).to.deep.equal(['sh', '-c'])
    expect(script).not.to.include(secrets.REDIS_PASSWORD!) // it would stand in the list of processes
    const port = await freePort()
    const dir = mkdtempSync(join(tmpdir(), 'rondo-compose-'))
    const own = `'${await findRedisServer()}' - --port ${port} --bind 127.0.0.1 --dir '${dir}'`
    const here = script!.replace('redis-server -', own)
    const child = spawn('sh', ['-c', here], { env: { ...process.env, ...nodes[0]!.environment } as never })
    const ended = new Promise((resolve) => child.once('close', resolve))
    const password = secrets.REDIS_PASSWORD!
    const retryStrategy = () => 20
    const redis = new Redis({ port, password, retryStrategy, maxRetriesPerRequest: null })
    const stranger = new Redis({ port, retryStrategy, maxRetriesPerRequest: null, enableReadyCheck: false })
    for (const client of [redis, stranger]) client.on('error', () => undefined) // until it has started
    try {
      const setting = async (name: string) => (await redis.config('GET', name))[1]
      expect(await setting('appendonly')).to.equal('yes')
      expect(await setting('maxmemory')).to.equal(String(256 * 1024 * 1024))
      expect(await setting('maxmemory-policy')).to.equal('volatile-lru')
      const refused = await stranger.ping().catch((error: Error) => error.message)
      expect(refused).to.match(/NOAUTH/)
      expect(child.spawnargs.join(' ')).not.to.include(password)
    } finally {
      redis.disconnect()
      stranger.disconnect()
      child.kill('SIGKILL')
      await ended
      rmSync(dir, { recursive: true, force: true })
    }
  })

  it('lets the health check of each Redis log in', () => {
    for (const node of nodes) expect(node.environment?.REDISCLI_AUTH).to.equal(secrets.REDIS_PASSWORD)
  })

  it('publishes on the loopback address only, and with tokens all the same', () => {
    expect(coordinator.ports).to.deep.equal(['127.0.0.1:8080:8080', '127.0.0.1:6390:6390'])
    const { DATA_TOKEN, ADMIN_TOKEN } = secrets
    expect(coordinator.environment).to.include({ HOST: '0.0.0.0', DATA_TOKEN, ADMIN_TOKEN })
    expect(coordinator.environment).not.to.have.property('ALLOW_INSECURE')
    const published = Object.values(compose.services).flatMap((service) => service.ports ?? [])
    expect(published.filter((port) => !port.startsWith('127.0.0.1:'))).to.deep.equal([])
  })

  it('gives the coordinator a configuration that it takes', () => {
    const loaded = loadConfig({ RONDO_IMAGE: 'true', ...(coordinator.environment as Record<string, string>) })
    expect(loaded.ok ? [] : loaded.problems).to.deep.equal([])
  })

  it('says in one line what to type while a secret is missing', () => {
    for (const name of SECRETS) {
      const without = () => composeWith({ ...secrets, [name]: '' })
      expect(without, name).to.throw(new RegExp(`^${name} is not set.* sh scripts/secrets.sh$`))
    }
    // Old versions of Compose take one of these for an operator of their own, and the rest for a default.
    for (const [, why] of read('docker-compose.yml').matchAll(/:\?([^}]*)\}/g))
      expect(why).to.match(/^[^-+?:${]+$/)
  })

  it('gets its secrets from scripts/secrets.sh, which replaces none', function () {
    if (spawnSync('openssl', ['version']).error) {
      this.test!.title += ' (skipped: there is no openssl)'
      this.skip()
    }
    const dir = mkdtempSync(join(tmpdir(), 'rondo-secrets-'))
    try {
      mkdirSync(join(dir, 'scripts'))
      const script = join(dir, 'scripts/secrets.sh')
      copyFileSync(fileURLToPath(new URL('../../scripts/secrets.sh', import.meta.url)), script)
      const run = () => {
        expect(spawnSync('sh', [script], { cwd: tmpdir() }).status).to.equal(0)
        return parseEnv(readFileSync(join(dir, '.env')))
      }
      const made = run()
      expect(Object.keys(made)).to.deep.equal(SECRETS)
      expect(new Set(Object.values(made)).size).to.equal(3)
      for (const secret of Object.values(made)) expect(secret).to.match(/^[0-9a-f]{64}$/)
      expect(statSync(join(dir, '.env')).mode & 0o077).to.equal(0)
      const { environment } = composeWith(made).services.rondo!
      expect(loadConfig(environment as Record<string, string>).ok).to.equal(true)
      expect(run()).to.deep.equal(made)
      writeFileSync(join(dir, '.env'), 'DATA_TOKEN=my-own-token-for-data\n')
      expect(run()).to.include({ DATA_TOKEN: 'my-own-token-for-data' })
    } finally {
      rmSync(dir, { recursive: true })
    }
  })

  it('bounds memory and processes of every service, and lets none write but to its volume', () => {
    for (const [name, service] of Object.entries(compose.services)) {
      expect(service.mem_limit, name).to.match(/^\d+[mg]$/)
      expect(service.pids_limit, name).to.be.within(32, 512)
      expect(service.read_only, name).to.equal(true)
      expect(service.restart, name).to.equal('unless-stopped')
    }
    for (const node of nodes) expect(parseInt(node.mem_limit!)).to.be.at.least(2 * 256)
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
    expect(coordinator.user).to.equal(undefined) // the image's own, which the next suite checks
  })
})

describe('Dockerfile', () => {
  const stages = parseDockerfile(read('Dockerfile'))
  const final = stages.at(-1)!
  const last = (name: string) => final.instructions.filter((instruction) => instruction.name === name).at(-1)!

  it('builds in stages, and the last has neither sources nor development packages', () => {
    expect(stages.map((stage) => stage.alias)).to.deep.equal(['build', 'dependencies', undefined])
    for (const stage of stages) expect(stage.image).to.equal('${NODE_IMAGE}') // one for all, and to be pinned
    expect(final.instructions.filter(({ name }) => name === 'RUN')).to.deep.equal([])
    const copied = final.instructions
      .flatMap((instruction) => copies(instruction))
      .map(({ source }) => source)
    expect(copied).to.deep.equal(['package.json', '/app/node_modules', '/app/dist'])
    const dependencies = stages[1]!.instructions.find(({ name }) => name === 'RUN')
    expect(dependencies?.rest).to.equal('npm ci --omit=dev --ignore-scripts')
  })

  it('is based on an exact version, and says how to pin its digest', () => {
    const text = read('Dockerfile')
    const image = /^ARG NODE_IMAGE=(.*)$/m.exec(text)![1]!
    expect(image).to.match(/^node:24\.\d+\.\d+-bookworm-slim$/)
    for (const file of [text, read('docs/OPERATING.md')])
      expect(file).to.include(`docker buildx imagetools inspect ${image} `)
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
    for (const path of ['.env', '.env.local', '.git', 'node_modules', 'dist', 'test']) {
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
    expect(`exec ${command.join(' ')}`, 'npm start replaces its shell, too').to.equal(scripts.start)
    expect(final.instructions.some(({ name }) => name === 'ENTRYPOINT')).to.equal(false)
    expect(last('EXPOSE').rest).to.equal('8080 6390')
    expect(last('ENV').rest.split(' ')).to.have.members([
      'NODE_ENV=production',
      'RONDO_IMAGE=true',
      'SHUTDOWN_DELAY_SECONDS=5',
    ])
  })

  it('checks its health with a file of its own program', () => {
    const command = JSON.parse(/CMD (\[.*\])$/.exec(last('HEALTHCHECK').rest)![1]!) as string[]
    expect(command).to.deep.equal(['node', 'dist/health-check.js'])
    expect(inRepository('src/health-check.ts')).to.equal(true)
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
    if (line.startsWith('ARG ') && stages.length === 0) continue
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
