import { mkdtempSync, readFileSync, rmSync, writeFileSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { parse } from 'dotenv'
import { describeConfig, loadConfig, type Config } from '../src/config/config.ts'
import { readEnvironment, unknownNames, type Environment } from '../src/config/environment.ts'
import { VARIABLES } from '../src/config/variables.ts'
import { DOCUMENTED, configMarkdown, parseConfigMarkdown } from './support/config-table.ts'

const TOKEN = 'a-token-of-some-length'
const OTHER = 'another-of-some-length'

function good(env: Environment): Config {
  const loaded = loadConfig(env)
  expect(loaded).to.have.property('ok', true)
  return (loaded as { config: Config }).config
}

function problemsOf(env: Environment): string[] {
  const loaded = loadConfig(env)
  return loaded.ok ? [] : loaded.problems
}

describe('configuration', () => {
  it('needs nothing: four memory nodes on loopback, with the documented defaults', () => {
    expect(good({})).to.deep.equal({
      nodes: {
        kind: 'memory',
        count: 4,
        maxBytesPerNode: 67_108_864,
        maxEntriesPerNode: 0,
        files: null,
      },
      vnodesPerNode: 100,
      replicationFactor: 3,
      maxTries: 3,
      readConsistency: 'one',
      writeConsistency: 'one',
      requestTimeoutMs: 1000,
      scriptTimeLimitMs: 200,
      nodeTimeoutMs: 300,
      connectTimeoutMs: 300,
      pingIntervalMs: 3000,
      defaultTtlMs: 0,
      graceMs: 86_400_000,
      repairIntervalMs: 3_600_000,
      repairKeysPerSecond: 30_000,
      host: '127.0.0.1',
      port: 8080,
      respPort: 6390,
      grpcPort: null,
      grpcMaxRecvBytes: 4_194_304,
      grpcMaxSendBytes: 4_194_304,
      crossSetMulti: 'unordered',
      compatApis: [],
      loader: {
        url: null,
        allow: { hosts: [], networks: [] },
        ttlMs: 300_000,
        negativeTtlMs: 10_000,
        staleMs: 0,
        timeoutMs: 5000,
        softTimeoutMs: 0,
        maxConcurrent: 32,
      },
      snapshots: { folder: null, intervalMs: 0, keep: 7 },
      allowDangerousCommands: true,
      databases: 16,
      dataTokens: { tokens: [], file: null },
      adminTokens: { tokens: [], file: null },
      allowInsecure: false,
      allowedHosts: [],
      trustedProxies: [],
      tls: null,
      tlsMinVersion: 'TLSv1.2',
      topology: 'dynamic',
      discovery: null,
      clusterId: null,
      maxKeyBytes: 1024,
      maxValueBytes: 8_388_608,
      maxTags: 16,
      deleteJobKeysPerSecond: 2000,
      maxBatchKeys: 1000,
      maxInFlight: 10_000,
      hotKeys: 0,
      nearCache: { maxBytes: 0, maxStalenessMs: 1000 },
      maxTrackedKeys: 100_000,
      queueTimeoutMs: 30_000,
      maxClientMemory: null,
      maxConnections: null,
      idleMs: 0,
      maxBatchBytes: 16_777_216,
      maxReplyBytes: 33_554_432,
      maxCommandBytes: 268_435_456,
      maxTransactionCommands: 100_000,
      maxArguments: 1024,
      shutdownDelayMs: 0,
      workers: 1,
      logLevel: 'info',
      logRequests: 'errors',
    })
  })

  it('takes every variable', () => {
    const config = good({
      REDIS_URLS: 'a=redis://u:pw@h1,b=rediss://h2',
      NODE_TLS_CA_FILE: '/etc/ca.pem',
      NODE_TLS_CERT_FILE: '/etc/client.pem',
      NODE_TLS_KEY_FILE: '/etc/client-key.pem',
      TOPOLOGY: 'static',
      CLUSTER_ID: '66f1d2a0c3',
      VNODES_PER_NODE: '10',
      REPLICATION_FACTOR: '2',
      READ_CONSISTENCY: 'quorum',
      WRITE_CONSISTENCY: 'all',
      MAX_TRIES: '0',
      REQUEST_TIMEOUT_MS: '2000',
      NODE_TIMEOUT_MS: '2000',
      SCRIPT_TIME_LIMIT_MS: '5000',
      CONNECT_TIMEOUT_MS: '50',
      PING_INTERVAL_SECONDS: '1',
      DEFAULT_TTL_SECONDS: '60',
      GRACE_SECONDS: '3600',
      REPAIR_INTERVAL_SECONDS: '600',
      REPAIR_KEYS_PER_SECOND: '0',
      HOST: '0.0.0.0',
      PORT: '0',
      RESP_PORT: 'off',
      GRPC_PORT: '50051',
      GRPC_MAX_RECV_BYTES: '16MiB',
      GRPC_MAX_SEND_BYTES: '1024',
      RESP_CROSS_SET_MULTI: 'refuse',
      COMPAT_APIS: 'lru-get, upstash',
      LOADER_URL: 'HTTPS://Origin.example/{db}/{key}?token=secret',
      LOADER_ALLOW: '10.0.0.0/8, *.Corp.example',
      LOADER_TTL_SECONDS: '60',
      LOADER_NEGATIVE_TTL_SECONDS: '0',
      LOADER_STALE_SECONDS: '600',
      LOADER_TIMEOUT_MS: '100',
      LOADER_SOFT_TIMEOUT_MS: '50',
      LOADER_MAX_CONCURRENT: '4',
      ALLOW_DANGEROUS_COMMANDS: 'false',
      DATABASES: '4',
      DATA_TOKEN: TOKEN,
      ADMIN_TOKEN: OTHER,
      TRUSTED_PROXIES: '10.0.0.7, fd00::/8',
      ALLOWED_HOSTS: 'Cache.Example, *.corp.example,10.0.0.1,[FD00::1]',
      TLS_CERT_FILE: 'cert.pem',
      TLS_KEY_FILE: 'key.pem',
      TLS_CLIENT_CA_FILE: 'clients.pem',
      TLS_MIN_VERSION: 'TLSv1.3',
      MAX_KEY_BYTES: '2KiB',
      MAX_VALUE_BYTES: '2mib',
      MAX_TAGS_PER_KEY: '3',
      DELETE_JOB_KEYS_PER_SECOND: '50',
      MAX_BATCH_KEYS: '7',
      MAX_BATCH_BYTES: '1GiB',
      MAX_REPLY_BYTES: '64MiB',
      MAX_COMMAND_BYTES: '1GiB',
      MAX_TRANSACTION_COMMANDS: '50',
      MAX_ARGUMENTS: '64',
      MAX_CLIENT_MEMORY: '128MiB',
      MAX_CONNECTIONS: '500',
      CLIENT_IDLE_SECONDS: '300',
      SHUTDOWN_DELAY_SECONDS: '5',
      WORKERS: 'auto',
      LOG_LEVEL: 'debug',
      LOG_REQUESTS: 'all',
    })
    expect(config.nodes.kind === 'redis' && config.nodes.addresses.map((node) => node.id)).to.deep.equal([
      'a',
      'b',
    ])
    expect(config.loader).to.deep.equal({
      url: 'https://origin.example/{db}/{key}?token=secret',
      allow: { hosts: ['*.corp.example'], networks: ['10.0.0.0/8'] },
      ttlMs: 60_000,
      negativeTtlMs: 0,
      staleMs: 600_000,
      timeoutMs: 100,
      softTimeoutMs: 50,
      maxConcurrent: 4,
    })
    expect(JSON.stringify(describeConfig(config)))
      .to.include('https://origin.example/***')
      .and.not.include('token=')
    expect(config).to.deep.include({
      vnodesPerNode: 10,
      replicationFactor: 2,
      maxTries: 0,
      readConsistency: 'quorum',
      writeConsistency: 'all',
      requestTimeoutMs: 2000,
      nodeTimeoutMs: 2000,
      connectTimeoutMs: 50,
      pingIntervalMs: 1000,
      defaultTtlMs: 60_000,
      graceMs: 3_600_000,
      repairIntervalMs: 600_000,
      repairKeysPerSecond: 0,
      host: '0.0.0.0',
      port: 0,
      respPort: null,
      grpcPort: 50_051,
      grpcMaxRecvBytes: 16_777_216,
      grpcMaxSendBytes: 1024,
      crossSetMulti: 'refuse',
      compatApis: ['upstash', 'lru', 'lru-get'],
      allowDangerousCommands: false,
      databases: 4,
      dataTokens: { tokens: [TOKEN], file: null },
      adminTokens: { tokens: [OTHER], file: null },
      allowedHosts: ['cache.example', '*.corp.example', '10.0.0.1', 'fd00::1'],
      trustedProxies: ['10.0.0.7', 'fd00::/8'],
      tls: { certFile: 'cert.pem', keyFile: 'key.pem', clientCaFile: 'clients.pem' },
      tlsMinVersion: 'TLSv1.3',
      maxKeyBytes: 2048,
      maxValueBytes: 2_097_152,
      maxTags: 3,
      deleteJobKeysPerSecond: 50,
      maxBatchKeys: 7,
      maxBatchBytes: 1_073_741_824,
      maxReplyBytes: 67_108_864,
      maxCommandBytes: 1_073_741_824,
      maxTransactionCommands: 50,
      maxArguments: 64,
      maxClientMemory: 134_217_728,
      maxConnections: 500,
      idleMs: 300_000,
      shutdownDelayMs: 5000,
      workers: 'auto',
      logLevel: 'debug',
      logRequests: 'all',
    })
  })

  it('treats an empty variable as not set, and leaves variables of others alone', () => {
    const empty = Object.fromEntries(VARIABLES.map(({ name }) => [name, ' ']))
    expect(good({ ...empty, PATH: '/bin', REDIS_URL: 'not ours' })).to.deep.equal(good({}))
  })

  it('starts on one Redis with the default of three copies', () => {
    expect(good({ REDIS_URLS: 'localhost' }).replicationFactor).to.equal(3)
  })

  describe('bad values', () => {
    const whole = [
      '-1',
      '1.5',
      'NaN',
      'Infinity',
      'ten',
      '1e3',
      '0x10',
      '+5',
      '1_000',
      '007',
      '99999999999999999999',
    ]
    const size = ['-1', '1.5', 'NaN', 'big', '64MB', '1 KiB', 'MiB', '0', '9999GiB', '1e3']
    const words = ['maybe', 'ONE', '1', 'one,all']
    const bad: Record<string, string[]> = {
      MEMORY_NODES: [...whole, '0', '65'],
      MEMORY_NODE_MAX_ENTRIES: [...whole, '16000001'],
      DATA_DIR: ['a\nb', '-----BEGIN'],
      DATA_FSYNC: ['ALWAYS', 'yes', 'true', 'everysecond'],
      DATA_SNAPSHOT_SECONDS: [...whole, '604801'],
      SNAPSHOT_DIR: ['a\nb', '-----BEGIN'],
      SNAPSHOT_INTERVAL_SECONDS: [...whole, '31536001'],
      SNAPSHOT_KEEP: [...whole, '0', '1001'],
      TOPOLOGY: ['STATIC', 'none', 'true'],
      CLUSTER_ID: ['a b', 'é', 'x'.repeat(65), '"id"'],
      VNODES_PER_NODE: [...whole, '0', '10001'],
      REPLICATION_FACTOR: [...whole, '0', '65'],
      MAX_TRIES: [...whole, '1001'],
      REQUEST_TIMEOUT_MS: [...whole, '0', '9', '600001', '1s'],
      SCRIPT_TIME_LIMIT_MS: [...whole, '0', '600001', '1s'],
      NODE_TIMEOUT_MS: [...whole, '0', '9'],
      CONNECT_TIMEOUT_MS: [...whole, '0'],
      PING_INTERVAL_SECONDS: [...whole, '0', '3601', '3s'],
      DEFAULT_TTL_SECONDS: [...whole, '3153600001'],
      GRACE_SECONDS: [...whole, '0', '9'],
      REPAIR_INTERVAL_SECONDS: [...whole, '157680001'],
      REPAIR_KEYS_PER_SECOND: [...whole, '10000001'],
      PORT: [...whole, '65536', '8080a', ':8080'],
      RESP_PORT: [...whole, '65536', 'OFF', 'none'],
      GRPC_PORT: [...whole, '65536', 'OFF', 'none'],
      GRPC_MAX_RECV_BYTES: ['1023', '513MiB', '4 MB', '-1'],
      GRPC_MAX_SEND_BYTES: ['0', '513MiB', '4 MB', '-1'],
      RESP_CROSS_SET_MULTI: ['true', 'REFUSE', 'allow'],
      COMPAT_APIS: ['upstash,', 'redis', 'Upstash', 'upstash lru', 'lru-get-get'],
      LOADER_URL: [
        'origin.example/{key}',
        'ftp://h/{key}',
        'http://h/',
        'http://{key}/',
        'http://u:p@h/{key}',
      ],
      LOADER_ALLOW: ['10.0.0.0/33', '10.0.0.1,', 'a b', '*'],
      LOADER_TTL_SECONDS: [...whole, '0', '31536001'],
      LOADER_NEGATIVE_TTL_SECONDS: [...whole, '31536001'],
      LOADER_STALE_SECONDS: [...whole, '31536001'],
      LOADER_TIMEOUT_MS: [...whole, '0', '30001'],
      LOADER_SOFT_TIMEOUT_MS: [...whole, '30001'],
      LOADER_MAX_CONCURRENT: [...whole, '0', '10001'],
      ALLOW_DANGEROUS_COMMANDS: ['yes', '1', 'TRUE', 'KEYS'],
      DATABASES: [...whole, '0', '1025'],
      MAX_TAGS_PER_KEY: [...whole, '0', '65'],
      DELETE_JOB_KEYS_PER_SECOND: [...whole, '0'],
      MAX_BATCH_KEYS: [...whole, '0'],
      MAX_IN_FLIGHT: [...whole, '0'],
      HOT_KEYS: [...whole, '101'],
      NEAR_CACHE_MAX_BYTES: [...size.filter((text) => text !== '0'), '65GiB'],
      NEAR_CACHE_MAX_STALENESS_MS: [...whole, '99', '60001'],
      TRACKING_MAX_KEYS: [...whole, '0', '100000001'],
      QUEUE_TIMEOUT_MS: [...whole, '0'],
      MAX_CLIENT_MEMORY: [...size, '16777215', '2TiB'],
      MAX_CONNECTIONS: [...whole, '0'],
      CLIENT_IDLE_SECONDS: [...whole, '31536001'],
      MEMORY_NODE_MAX_BYTES: [...size, '1023'],
      MAX_KEY_BYTES: [...size, '65537'],
      MAX_VALUE_BYTES: [...size, '257MiB'],
      MAX_BATCH_BYTES: size,
      MAX_REPLY_BYTES: [...size, '1023', '2GiB'],
      MAX_COMMAND_BYTES: [...size, '1023', '17GiB'],
      MAX_TRANSACTION_COMMANDS: [...whole, '0', '1000001'],
      MAX_ARGUMENTS: [...whole, '63', '16385'],
      READ_CONSISTENCY: words,
      WRITE_CONSISTENCY: words,
      LOG_LEVEL: ['INFO', 'verbose', '30'],
      LOG_REQUESTS: ['some', 'true', 'error'],
      ALLOW_INSECURE: ['yes', '1', 'TRUE', 'on'],
      TRUSTED_PROXIES: ['proxy', '10.0.0.0/33', '10.0.0.1 10.0.0.2', '10.0.0.1,', '::1/129'],
      ALLOWED_HOSTS: [
        '*',
        'http://cache.example',
        'cache.example:8080',
        'a,,b',
        'a b',
        '*cache.example',
        'a.*.b',
      ],
      RONDO_IMAGE: ['yes'],
      SHUTDOWN_DELAY_SECONDS: [...whole, '3601'],
      WORKERS: [...whole, '0', '1025', 'AUTO', 'max'],
      HOST: ['*', 'http://127.0.0.1', '127.0.0.1:80', '1.2.3', 'a b', '::g'],
      DATA_TOKEN: [
        'short',
        `${TOKEN} short`,
        `${TOKEN} ${TOKEN} ${TOKEN}`,
        'with some spaces inside',
        'fünfzehn-zeichen-und-mehr',
        'a'.repeat(513),
      ],
      DATA_TOKEN_FILE: ['-----BEGIN', 'a\nb'],
      ADMIN_TOKEN_FILE: ['a\nb'],
      ADMIN_TOKEN: ['short', 'with some spaces inside'],
      TLS_CERT_FILE: ['-----BEGIN CERTIFICATE-----', 'a\nb'],
      TLS_KEY_FILE: ['-----BEGIN PRIVATE KEY-----'],
      TLS_CLIENT_CA_FILE: ['-----BEGIN CERTIFICATE-----'],
      TLS_MIN_VERSION: ['TLSv1.1', 'tlsv1.2', '1.2', 'SSLv3'],
      NODE_TLS_CA_FILE: ['-----BEGIN CERTIFICATE-----'],
      NODE_TLS_CERT_FILE: ['-----BEGIN CERTIFICATE-----'],
      NODE_TLS_KEY_FILE: ['-----BEGIN PRIVATE KEY-----'],
      SENTINEL_USERNAME: ['a b', 'é', 'x'.repeat(257)],
      SENTINEL_PASSWORD: ['a\nb', 'x'.repeat(1025)],
      REDIS_URLS: ['http://h', 'h:0', 'a,,b', ' , '],
      DISCOVERY_URL: [
        'redis',
        'redis:6379',
        'http://redis:6379',
        'redis://10.0.0.1:6379',
        'redis://[::1]:6379',
        'redis://2130706433',
        'redis://user:secret@redis:6379',
        'redis://redis:0',
        'redis://redis?weight=2',
        'redis://redis,redis://other',
        'redis+sentinel://cart@redis:26379',
        'id=redis://redis:6379',
      ],
      DISCOVERY_DELAY_SECONDS: [...whole, '86401', '60s'],
    }

    it('refuses a discovery that could find nothing of use', () => {
      const set = { REDIS_URLS: 'redis-0.redis', DISCOVERY_URL: 'rediss://Redis.cache' }
      expect(good(set).discovery).to.deep.equal({
        at: { host: 'redis.cache', port: 6379 },
        tls: true,
        delayMs: 60_000,
      })
      expect(good({ ...set, DISCOVERY_DELAY_SECONDS: '5' }).discovery).to.include({ delayMs: 5000 })
      expect(problemsOf({ ...set, REDIS_URLS: '' }).join()).to.include('Set REDIS_URLS to the first nodes')
      expect(problemsOf({ ...set, TOPOLOGY: 'static' }).join()).to.include('Set TOPOLOGY=dynamic')
      const same = problemsOf({ ...set, REDIS_URLS: 'a,redis.cache:6379' })
      expect(same.join()).to.include('names or addresses of single servers')
    })

    it('refuses Sentinels where no failover could be followed, and a user of theirs without a password', () => {
      const REDIS_URLS = 'a=h:1,redis+sentinel://cart@h:2,h:3'
      expect(problemsOf({ REDIS_URLS })).to.deep.equal([])
      expect(problemsOf({ REDIS_URLS, TOPOLOGY: 'static' }).join()).to.include('Set TOPOLOGY=dynamic')
      expect(problemsOf({ REDIS_URLS, SENTINEL_USERNAME: 'u' }).join()).to.include('a user needs a password')
    })

    it('are tried for every variable', () => {
      expect(Object.keys(bad).sort()).to.deep.equal(VARIABLES.map(({ name }) => name).sort())
    })

    for (const [name, texts] of Object.entries(bad))
      it(`${name}: ${texts.length} of them stop the start with its name and what to do`, () => {
        for (const text of texts) {
          const problems = problemsOf({ [name]: text })
          const own = problems.filter((problem) => problem.startsWith(name))
          expect(own, text).to.not.be.empty
          for (const problem of own) expect(problem, text).to.match(/\.$/)
          for (const problem of own) expect(problem, text).to.match(/[Cc]orrect it|remove|use |Set /)
        }
      })
  })

  it('names all problems at once, those of single values and those between them', () => {
    const problems = problemsOf({
      HOST: '0.0.0.0',
      PORT: 'x',
      REQUEST_TIMEOUT_MS: '100',
      LOG_LEVEL: 'loud',
      WORKERS: '2',
      TLS_KEY_FILE: 'key.pem',
      RONDO_IMAGE: 'true',
      DATA_TOKEN: 'short',
    })
    const about = [
      'PORT',
      'DATA_TOKEN',
      'LOG_LEVEL',
      'HOST',
      'NODE_TIMEOUT_MS',
      'WORKERS',
      'REDIS_URLS',
      'TLS_KEY_FILE',
    ]
    expect(problems.map((problem) => problem.split(' ')[0]).sort()).to.deep.equal(about.sort())
  })

  it('says what is wrong, what it was, and what the default is', () => {
    expect(problemsOf({ PORT: '80a' })).to.deep.equal([
      'PORT must be a whole number from 0 to 65535, and is "80a". Correct it, or remove it for the default, 8080.',
    ])
  })

  describe('rules between variables', () => {
    it('does not listen beyond loopback without both tokens, unless that is allowed in so many words', () => {
      for (const HOST of ['0.0.0.0', '::', '10.0.0.1', 'example.com', '127.0.0.1.example.com']) {
        expect(problemsOf({ HOST }).join()).to.match(
          /^HOST .*DATA_TOKEN and ADMIN_TOKEN.*ALLOW_INSECURE=true/,
        )
        expect(problemsOf({ HOST, DATA_TOKEN: TOKEN }).join()).to.match(/without ADMIN_TOKEN anyone/)
        expect(problemsOf({ HOST, ADMIN_TOKEN: TOKEN }).join()).to.match(/without DATA_TOKEN anyone/)
        good({ HOST, DATA_TOKEN: TOKEN, ADMIN_TOKEN: OTHER })
        good({ HOST, ALLOW_INSECURE: 'true' })
      }
      for (const HOST of ['127.0.0.1', '127.0.0.2', '::1', '[::1]', 'localhost']) good({ HOST })
    })

    it('does not split memory nodes over several workers', () => {
      for (const WORKERS of ['2', 'auto']) {
        expect(problemsOf({ WORKERS }).join()).to.match(/^WORKERS is .*Set REDIS_URLS, or WORKERS=1/)
        expect(good({ WORKERS, REDIS_URLS: 'h' }).workers).to.equal(WORKERS === 'auto' ? 'auto' : 2)
      }
    })

    it('loads from a private address only if LOADER_ALLOW names it', () => {
      const named: [url: string, host: string, allow: string, other: string][] = [
        ['http://10.1.2.3/{key}?token=secret', '10.1.2.3', '10.0.0.0/8', '10.1.2.4'],
        ['http://[::1]:3000/{key}', '[::1]', '::1', '127.0.0.1'],
        ['http://[::ffff:10.1.2.3]/{key}', '[::ffff:a01:203]', '::ffff:10.1.2.3', '10.1.2.4'],
        ['http://0x7f.1/{key}', '127.0.0.1', '127.0.0.1', 'localhost'],
        ['http://LocalHost:3000/{key}', 'localhost', 'localhost', '10.0.0.0/8'],
        ['http://localhost/{key}', 'localhost', '127.0.0.0/8', '*.example'],
        ['http://dev.localhost/{key}', 'dev.localhost', '*.localhost', 'localhost'],
        ['http://169.254.169.254/{key}', '169.254.169.254', '169.254.169.254', 'metadata'],
      ]
      for (const [LOADER_URL, host, allow, other] of named) {
        for (const LOADER_ALLOW of [undefined, other]) {
          const problems = problemsOf({ LOADER_URL, ...(LOADER_ALLOW && { LOADER_ALLOW }) })
          expect(problems, LOADER_URL).to.have.length(1)
          expect(problems[0])
            .to.satisfy((text: string) => text.startsWith(`LOADER_URL leads to ${host}, `))
            .and.include('Set LOADER_ALLOW=')
            .and.not.include('secret')
        }
        good({ LOADER_URL, LOADER_ALLOW: allow })
      }
      // What needs DNS is known when it is asked; and what is wrong by itself is told alone.
      for (const public_ of [
        'http://origin.internal/{key}',
        'http://93.184.216.34/{key}',
        'http://[2606:4700::1]/{key}',
      ])
        good({ LOADER_URL: public_ })
      expect(problemsOf({ LOADER_URL: 'http://10.1.2.3/{key}', LOADER_ALLOW: '10.0.0.0/33' })).to.have.length(
        1,
      )
    })

    it('takes snapshots every so often only where there is a folder for them', () => {
      const { snapshots } = good({
        SNAPSHOT_DIR: '/snapshots',
        SNAPSHOT_INTERVAL_SECONDS: '60',
        SNAPSHOT_KEEP: '3',
      })
      expect(snapshots).to.deep.equal({ folder: '/snapshots', intervalMs: 60_000, keep: 3 })
      expect(problemsOf({ SNAPSHOT_INTERVAL_SECONDS: '60' }).join()).to.match(
        /^SNAPSHOT_INTERVAL_SECONDS is set and SNAPSHOT_DIR is not, .* Set SNAPSHOT_DIR, or remove /,
      )
    })

    it('keeps memory nodes in DATA_DIR, and nothing else', () => {
      const { nodes } = good({ DATA_DIR: '/data', DATA_FSYNC: 'always', DATA_SNAPSHOT_SECONDS: '60' })
      expect(nodes).to.deep.include({
        files: { folder: '/data', fsync: 'always', snapshotIntervalMs: 60_000 },
      })
      expect(problemsOf({ DATA_DIR: '/data', REDIS_URLS: 'localhost' }).join()).to.match(
        /^DATA_DIR is set, and so is REDIS_URLS: .* Remove one of them\.$/,
      )
      expect(problemsOf({ DATA_FSYNC: 'always' }).join()).to.match(
        /^DATA_FSYNC is always and DATA_DIR is not/,
      )
    })

    it('falls back to memory nodes in the image only when MEMORY_NODES says so', () => {
      expect(problemsOf({ RONDO_IMAGE: 'true' }).join()).to.match(/^REDIS_URLS is not set.*MEMORY_NODES=4/)
      expect(problemsOf({ RONDO_IMAGE: 'true', MEMORY_NODES: '' })).to.have.length(1)
      good({ RONDO_IMAGE: 'true', MEMORY_NODES: '4' })
      good({ RONDO_IMAGE: 'true', REDIS_URLS: 'h' })
    })

    it('keeps a node call within its request', () => {
      expect(problemsOf({ NODE_TIMEOUT_MS: '1001' }).join()).to.match(
        /^NODE_TIMEOUT_MS \(1001\).*REQUEST_TIMEOUT_MS/,
      )
      good({ NODE_TIMEOUT_MS: '1000' })
    })

    it('leaves a connection memory for the largest value', () => {
      const [problem, ...more] = problemsOf({ MAX_CLIENT_MEMORY: '63MiB' })
      expect(more).to.deep.equal([])
      expect(problem).to.equal(
        'MAX_CLIENT_MEMORY (66060288) must be at least 8 times MAX_VALUE_BYTES (8388608): one connection may use a ' +
          'quarter of it, and has to hold a value twice. Raise the one or lower the other.',
      )
      expect(problemsOf({ MAX_CLIENT_MEMORY: '64MiB' })).to.deep.equal([])
      expect(problemsOf({ MAX_CLIENT_MEMORY: '16MiB', MAX_VALUE_BYTES: '2MiB' })).to.deep.equal([])
    })
    it('repairs twice before a delete is forgotten', () => {
      expect(problemsOf({ REPAIR_INTERVAL_SECONDS: '43200' }).join()).to.match(
        /^REPAIR_INTERVAL_SECONDS \(43200\).*half of GRACE_SECONDS \(86400\)/,
      )
      expect(problemsOf({ GRACE_SECONDS: '7200' }).join()).to.match(/^REPAIR_INTERVAL_SECONDS \(3600\)/)
      good({ REPAIR_INTERVAL_SECONDS: '43199' })
      good({ GRACE_SECONDS: '10', REPAIR_INTERVAL_SECONDS: '0' })
    })

    it('takes a token or its file, not both, and either guards an address that others reach', () => {
      for (const name of ['DATA_TOKEN', 'ADMIN_TOKEN']) {
        expect(problemsOf({ [name]: TOKEN, [`${name}_FILE`]: 'f' }).join()).to.match(
          new RegExp(`^${name} and ${name}_FILE are both set`),
        )
      }
      good({ HOST: '0.0.0.0', DATA_TOKEN_FILE: 'd', ADMIN_TOKEN_FILE: 'a' })
      const { dataTokens } = good({
        DATA_TOKEN: `${TOKEN} \t${OTHER}`,
        ADMIN_TOKEN_FILE: '/run/secrets/admin',
      })
      expect(dataTokens).to.deep.equal({ tokens: [TOKEN, OTHER], file: null })
    })

    it('takes certificate and key together or not at all', () => {
      expect(problemsOf({ TLS_CERT_FILE: 'c' }).join()).to.match(
        /^TLS_CERT_FILE is set and TLS_KEY_FILE is not/,
      )
      expect(problemsOf({ TLS_KEY_FILE: 'k' }).join()).to.match(
        /^TLS_KEY_FILE is set and TLS_CERT_FILE is not/,
      )
      expect(problemsOf({ NODE_TLS_CERT_FILE: 'c' }).join()).to.match(
        /^NODE_TLS_CERT_FILE is set and NODE_TLS_KEY_FILE is not/,
      )
      expect(problemsOf({ NODE_TLS_KEY_FILE: 'k' }).join()).to.match(
        /^NODE_TLS_KEY_FILE is set and NODE_TLS_CERT_FILE is not/,
      )
    })

    it('asks clients for a certificate only over TLS', () => {
      expect(problemsOf({ TLS_CLIENT_CA_FILE: 'c' }).join()).to.match(
        /^TLS_CLIENT_CA_FILE is set, but without/,
      )
      good({ TLS_CLIENT_CA_FILE: 'c', TLS_CERT_FILE: 'c', TLS_KEY_FILE: 'k' })
    })
  })

  describe('secrets', () => {
    it('are in the configuration, but not in its description', () => {
      const config = good({
        REDIS_URLS: 'a=redis://topuser:hunter2-node@h1:1,b=redis://:hunter2-b@h2:1',
        DATA_TOKEN: 'hunter2-data-token',
        ADMIN_TOKEN: 'hunter2-admin-token',
      })
      expect(JSON.stringify(config).match(/hunter2/g)).to.have.length(4)
      const shown = JSON.stringify(describeConfig(config))
      expect(shown).to.not.match(/hunter2|topuser/)
      expect(describeConfig(config)).to.deep.include({
        dataTokens: { tokens: ['***'], file: null },
        adminTokens: { tokens: ['***'], file: null },
        port: 8080,
      })
      expect(shown).to.contain('a (at h1:1, with a password)')
    })

    it('are in no problem, also when they stand in the wrong place', () => {
      const problems = problemsOf({
        REDIS_URLS: 'redis://u:hunter2@h:0',
        DATA_TOKEN: 'hunter2',
        ADMIN_TOKEN: 'hunter2 with spaces in it',
        HOST: 'redis://u:hunter2@h',
        MEMORY_NODES: 'redis://u:hunter2@h',
        LOG_LEVEL: 'a-very-long-secret-hunter2-in-the-wrong-variable',
      })
      expect(problems.length).to.be.greaterThan(5)
      expect(problems.join('\n')).to.not.contain('hunter2')
    })
  })

  describe('.env.local', () => {
    let folder = ''
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'rondo-config-'))
    })
    afterEach(() => {
      rmSync(folder, { recursive: true })
    })

    it('need not exist', () => {
      expect(readEnvironment(folder, { PORT: '1' })).to.deep.equal({ PORT: '1' })
    })

    it('is read below the environment, which wins even with nothing', () => {
      writeFileSync(
        join(folder, '.env.local'),
        '\uFEFFPORT=1\nHOST=::1 # here\nREDIS_URLS="redis://:a#b@h"\n',
      )
      expect(readEnvironment(folder, { PORT: '2', REDIS_URLS: '' })).to.deep.equal({
        PORT: '2',
        HOST: '::1',
        REDIS_URLS: '',
      })
      expect(readEnvironment(folder, {})).to.have.property('REDIS_URLS', 'redis://:a#b@h')
      expect(process.env).to.not.have.property('REDIS_URLS', 'redis://:a#b@h')
    })

    it('names what is not a setting, and the setting that it was meant to be', () => {
      writeFileSync(
        join(folder, '.env.local'),
        'REDIS_URL=a\nWRITE_CONSISTANCY=all\nport=1\nMY_OWN_THING=x\nPORT=1\n',
      )
      expect(unknownNames(folder)).to.deep.equal([
        '.env.local sets "REDIS_URL", which is not a setting, and is ignored; did you mean REDIS_URLS?',
        '.env.local sets "WRITE_CONSISTANCY", which is not a setting, and is ignored; did you mean WRITE_CONSISTENCY?',
        '.env.local sets "port", which is not a setting, and is ignored; did you mean PORT?',
        '.env.local sets "MY_OWN_THING", which is not a setting, and is ignored',
      ])
      expect(unknownNames(join(folder, 'none'))).to.deep.equal([])
    })

    it('stops the start when it exists but cannot be read', () => {
      mkdirSync(join(folder, '.env.local'))
      expect(() => readEnvironment(folder, {})).to.throw(/\.env\.local is a directory, not a file/)
    })
  })

  describe('table, example and README', () => {
    const example = readFileSync(new URL('../.env.local.example', import.meta.url), 'utf8')
    /** `NAME=value` and, as a default that is not in force, `#NAME=value`. */
    const lines = [...example.matchAll(/^(#?)([A-Z][A-Z0-9_]*)=(.*)$/gm)].map(([, off, name, value]) => ({
      name,
      value,
      off: off === '#',
    }))

    it('list the same variables, each once: .env.local.example', () => {
      expect(lines.map((line) => line.name)).to.deep.equal(DOCUMENTED.map((variable) => variable.name))
    })

    it('give the same defaults: .env.local.example', () => {
      for (const variable of DOCUMENTED.filter(({ name }) => name !== 'REDIS_URLS'))
        expect(lines).to.deep.include({ name: variable.name, value: variable.default, off: true })
    })

    it('has an explanation above each variable or pair in the example', () => {
      const paragraphs = example.split(/\n\n+/).filter((paragraph) => /^#?[A-Z][A-Z0-9_]*=/m.test(paragraph))
      for (const paragraph of paragraphs) expect(paragraph).to.match(/^# \S.{20}/)
    })

    it('has an example that starts as it is: four Redis on this machine, and all defaults', () => {
      const config = good(parse(example))
      expect(
        config.nodes.kind === 'redis' && config.nodes.addresses.map((n) => `${n.id}=${n.address}`),
      ).to.deep.equal([1, 2, 3, 4].map((i) => `redis-${i}=localhost:${6378 + i}`))
      expect({ ...config, nodes: null }).to.deep.equal({ ...good({}), nodes: null })
      const all = good(parse(example.replace(/^#(?=[A-Z][A-Z0-9_]*=)/gm, '')))
      expect(all).to.deep.equal(config)
    })

    it('agree: README.md, word for word (npx tsx test/support/config-table.ts prints it)', () => {
      const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
      expect(parseConfigMarkdown(readme)).to.deep.equal(
        DOCUMENTED.map(({ name, default: text, meaning }) => ({ name, default: text, meaning })),
      )
    })

    it('print a table that reads back', () => {
      expect(parseConfigMarkdown(configMarkdown())).to.have.length(DOCUMENTED.length)
      for (const variable of VARIABLES) expect(variable.meaning).to.match(/^[^|\n]+\.$/)
    })

    it('hide from users only what the image sets', () => {
      expect(VARIABLES.filter((variable) => variable.hidden).map(({ name }) => name)).to.deep.equal([
        'RONDO_IMAGE',
      ])
    })
  })
})
