/**
 * The libraries of docs/CLIENTS.md: what of each works on Rondo, and which test shows it. The table there is
 * printed from this list: npx tsx test/e2e/clients/libraries.ts
 *
 * A job (jobs/<language>/…) does the work of the users of one library. It prints a line `lacks …` for each part
 * that needs a command which Rondo does not have, and `ok`; libraries.test.ts expects exactly the lines of the row.
 */
import { fileURLToPath } from 'node:url'

export interface Library {
  readonly name: string
  readonly language: Language
  /** The start of its version: Debian 12's, or that in package.json. */
  readonly version: string
  /** Those of Debian, or of npm, that have to be installed; the first is the library. */
  readonly packages: readonly string[]
  /** A job in jobs/, or a test beside this file. */
  readonly shownBy: string
  readonly works: 'yes' | 'partly' | 'no'
  /** What was tried, and what a user has to know. */
  readonly note: string
  /** What does not work, and the command of Redis that it needs. */
  readonly lacks: readonly (readonly [what: string, command: string])[]
  /** It sends keys of several replica sets in one MULTI, and fails with RESP_CROSS_SET_MULTI=refuse. */
  readonly mixesReplicaSets: boolean
}

export type Language = 'JavaScript' | 'Python' | 'PHP' | 'Ruby' | 'Go' | 'C' | 'Perl' | 'Lua' | 'Erlang'

type Row = Pick<Library, 'version' | 'note'> & Partial<Library>

/** An npm package; its job has its name, unless `shownBy` says otherwise. */
function npm(name: string, row: Row): Library {
  const shownBy = `jobs/node/${name}.mjs`
  return { name, language: 'JavaScript', packages: [name], shownBy, ...defaults(row), ...row }
}

/** Of a language whose jobs are named for Debian's packages, and need some others. */
function debian(language: Language, folder: string, extension: string, ...needed: string[]) {
  return (job: string, row: Row & { name: string }): Library => ({
    language,
    shownBy: `jobs/${folder}/${job}.${extension}`,
    ...defaults(row),
    ...row,
    packages: [...(row.packages ?? [job]), ...needed],
  })
}

/** A file of the program of all Go jobs, which needs all their packages. */
function go(job: string, debianName: string, row: Row & { name: string }): Library {
  const packages = [debianName, ...GO_PACKAGES.filter((name) => name !== debianName)]
  return { language: 'Go', shownBy: `jobs/go/${job}.go`, packages, ...defaults(row), ...row }
}

const GO_PACKAGES = [
  'golang-go',
  'golang-github-boj-redistore-dev',
  'golang-github-gomodule-redigo-dev',
  'golang-gopkg-redis.v5-dev',
]

function defaults(row: Row) {
  const works = row.lacks ? ('partly' as const) : ('yes' as const)
  return { lacks: [], works, mixesReplicaSets: false }
}

const python = debian('Python', 'python', 'py', 'python3-redis')
const php = debian('PHP', 'php', 'php', 'php-cli', 'php-redis')
const ruby = debian('Ruby', 'ruby', 'rb', 'ruby-redis')
const perl = debian('Perl', 'perl', 'pl')

const CLIENT = 'strings, hashes, sets, lists, keys, pipelines, transactions, WATCH over one hash tag, SCAN'

export const LIBRARIES: readonly Library[] = [
  // ---- JavaScript
  npm('ioredis', {
    version: '6.0',
    shownBy: 'ioredis.test.ts',
    note: `${CLIENT}; RESP2 and RESP3`,
  }),
  npm('ioredis-5', {
    name: 'ioredis',
    version: '5.11',
    note: `${CLIENT}, key prefix, database 1, a subscriber; connects again`,
  }),
  npm('redis-6', {
    name: 'node-redis',
    version: '6.3',
    shownBy: 'node-redis.test.ts',
    note: `${CLIENT}, a consumer group over a stream, its client-side cache; RESP2 and RESP3; conditions of Redis 8.4 (\`condition: 'IFEQ'\`, \`delEx\`, \`digest\`, \`mSetEx\`)`,
  }),
  npm('redis-5', {
    name: 'node-redis',
    version: '5.9',
    shownBy: 'node-redis.test.ts',
    note: `${CLIENT}, its client-side cache; RESP2 and RESP3`,
  }),
  npm('redis-4', {
    name: 'node-redis',
    version: '4.7',
    note: `${CLIENT}, database 1`,
  }),
  npm('iovalkey', {
    version: '0.4',
    note: 'strings, hashes, sets, lists, pipelines, transactions, DELIFEQ, database 1',
  }),
  npm('valkey-glide', {
    name: 'Valkey GLIDE',
    version: '2.5',
    packages: ['@valkey/valkey-glide'],
    note: 'strings, hashes, sets, lists, batches, transactions, SCAN, DELIFEQ, database 1; RESP2 and RESP3',
  }),
  npm('@upstash/redis', {
    version: '1.39',
    shownBy: 'upstash-commands.test.ts',
    note: 'over HTTP, with `COMPAT_APIS=upstash` and `…/upstash` as its URL: every method whose command Rondo has, `pipeline()`, `multi()`, automatic pipelines, reads of its own writes',
  }),
  npm('@upstash/ratelimit', {
    version: '2.2',
    shownBy: 'upstash.test.ts',
    note: 'limits of requests, over HTTP: every limiter, refusals from its own memory, `setDynamicLimit`. `slidingWindow` needs a prefix with a hash tag, as in `{limits}`',
    lacks: [['resetUsedTokens', 'SCAN in a script']],
    works: 'yes',
  }),
  npm('keyv', {
    name: 'Keyv with @keyv/redis',
    version: '5.6',
    packages: ['keyv', '@keyv/redis'],
    shownBy: 'caches.test.ts',
    note: 'values, TTL, many, namespaces, iteration, clear',
    mixesReplicaSets: true,
  }),
  npm('keyv-valkey', {
    name: '@keyv/valkey',
    version: '1.0',
    packages: ['@keyv/valkey'],
    note: 'values, TTL, many, clear, with its set of keys and with `useRedisSets: false`',
    mixesReplicaSets: true,
  }),
  npm('cache-manager', {
    version: '7.2',
    shownBy: 'caches.test.ts',
    note: 'wrap, TTL, mset, mget, mdel, over Keyv',
    mixesReplicaSets: true,
  }),
  npm('cache-manager-ioredis-yet', {
    version: '2.1',
    note: 'values, TTL, mset, mget, keys, reset',
    mixesReplicaSets: true,
  }),
  npm('cacheable', {
    version: '2.5',
    note: 'a cache in memory in front of Rondo: values, many, wrap, take, clear',
    mixesReplicaSets: true,
  }),
  npm('catbox-redis', {
    name: '@hapi/catbox-redis',
    version: '7.1',
    packages: ['@hapi/catbox-redis'],
    note: "hapi's cache: set, get with the rest of its TTL, drop",
  }),
  npm('connect-redis', {
    version: '9.0',
    packages: ['connect-redis', 'express-session'],
    shownBy: 'sessions.test.ts',
    note: 'sessions of Express, also while a node fails; length, ids, all, clear',
  }),
  npm('koa-redis', { version: '4.0', note: 'sessions of Koa' }),
  npm('rate-limiter-flexible', {
    version: '11.4',
    note: '`RateLimiterRedis`, exact also for many requests at once; `RateLimiterRedisNonAtomic`: consume, penalty, reward, get, delete',
  }),
  npm('rate-limit-redis', {
    version: '6.0',
    note: 'the store of express-rate-limit',
  }),
  npm('redlock', { version: '4.2', note: 'locks: take, extend, return' }),
  npm('redis-semaphore', {
    version: '5.8',
    note: 'Mutex and Semaphore: take and return',
  }),
  npm('bullmq', {
    name: 'BullMQ',
    version: '6.7',
    note: "queues, workers, events, delays, retries, priorities, flows, rates, schedulers; each job is done once. Needs a prefix with a hash tag: `prefix: '{bull}'`. All scripts of a queue take turns: fifty workers were tried at once, and the loss of a node at `quorum`, there through one coordinator. `clean()`, `drain()` and `obliterate()` of some hundreds of jobs work; of many more in one go they may need a larger `REQUEST_TIMEOUT_MS`",
  }),
  npm('@socket.io/redis-adapter', {
    name: 'socket.io with its Redis adapter',
    version: '8.3',
    packages: ['@socket.io/redis-adapter', 'socket.io', 'socket.io-client'],
    shownBy: 'socket.io.test.ts',
    note: 'servers at several coordinators: broadcasts, rooms, `fetchSockets()`, `serverSideEmit()`, `socketsJoin()`, `disconnectSockets()`; goes on while a node is down',
  }),
  npm('@socket.io/redis-streams-adapter', {
    name: 'socket.io with its Redis Streams adapter',
    version: '0.3',
    shownBy: 'socket.io.test.ts',
    note: 'the same',
  }),

  // ---- Python
  python('python3-redis', {
    name: 'redis-py',
    version: '4.3',
    note: `${CLIENT}, optimistic locking with \`transaction()\` over one hash tag, \`lock()\``,
    mixesReplicaSets: true,
  }),
  python('python3-aioredis', {
    name: 'aioredis',
    version: '1.3',
    note: 'strings, hashes, sets, lists, SCAN, transactions, a pool of connections',
  }),
  python('python3-django-redis', {
    name: 'django-redis',
    version: '5.2',
    note: "all of Django's cache (3.2), `delete_pattern`, `ttl`, `lock()`, versions, sessions in the cache",
    mixesReplicaSets: true,
  }),
  python('python3-django-redis-sessions', {
    name: 'django-redis-sessions',
    version: '0.6',
    packages: ['python3-django-redis-sessions', 'python3-django'],
    note: 'sessions',
  }),
  python('python3-cachelib', {
    name: 'cachelib',
    version: '0.9',
    note: 'values, TTL, add, many, inc, dec, clear with and without a prefix',
  }),
  python('python3-flask-caching', {
    name: 'Flask-Caching',
    version: '2.0',
    note: 'cached views, memoized functions, many, unlink, clear',
  }),
  python('python3-dogpile.cache', {
    name: 'dogpile.cache',
    version: '1.1',
    note: 'cached functions, many, expiration, `distributed_lock`',
    mixesReplicaSets: true,
  }),
  python('python3-beaker', {
    name: 'Beaker',
    version: '1.11',
    note: 'cached functions with its lock, sessions',
  }),
  python('python3-cachecontrol', {
    name: 'CacheControl',
    version: '0.12',
    note: 'responses of web sites, clear',
  }),
  python('python3-requests-cache', {
    name: 'requests-cache',
    version: '0.9',
    note: 'responses and redirects of web sites, delete, clear',
  }),
  python('python3-limits', {
    name: 'limits',
    version: '2.8',
    note: 'rates of requests, in fixed and moving windows; Flask-Limiter is built on it',
  }),
  python('python3-celery', {
    name: 'Celery',
    version: '5.2',
    note: 'a worker (`--pool solo`) does tasks and keeps their results: later, again, in chains, groups and chords; tasks are counted and purged, workers asked',
    mixesReplicaSets: true,
  }),
  python('python3-rq', {
    name: 'RQ',
    version: '1.13',
    works: 'partly',
    note: 'jobs are sent, also for later, found, deleted and taken from a queue, also by waiting for them. `empty()` needs keys of one replica set, and is refused',
    lacks: [['its worker and depends_on', 'WATCH over several replica sets']],
    mixesReplicaSets: true,
  }),

  // ---- PHP
  php('php-redis', {
    name: 'phpredis',
    version: '5.3',
    note: `${CLIENT}, prefix, serializer, database 1; connects again`,
  }),
  php('php-session', {
    name: 'sessions of PHP with phpredis',
    version: '5.3',
    packages: ['php-redis'],
    note: '`session.save_handler=redis`: read, write, regenerate, destroy, locks',
  }),
  php('php-predis', {
    name: 'Predis',
    version: '1.1',
    note: `${CLIENT}, check and set over one hash tag, sessions, prefix, database 1`,
  }),
  php('php-symfony-cache', {
    name: 'Symfony Cache',
    version: '5.4',
    packages: ['php-symfony-cache', 'php-predis', 'php-psr-simple-cache'],
    note: 'RedisAdapter over phpredis and Predis: get, deferred items, PSR-16, clearing a namespace; TagAwareAdapter. RedisTagAwareAdapter saves, reads and deletes, but `invalidateTags()` needs keys of one replica set, and returns false',
  }),
  php('php-illuminate-cache', {
    name: "Laravel's cache",
    version: '8.83',
    packages: ['php-illuminate-cache', 'php-illuminate-redis', 'php-predis'],
    note: 'over phpredis and Predis: put, remember, increment, putMany, many, forever, pull, add, tags, clear, locks',
    mixesReplicaSets: true,
  }),

  // ---- Ruby
  ruby('ruby-redis', {
    name: 'redis-rb',
    version: '4.8',
    note: `${CLIENT}, database 1; connects again`,
  }),
  ruby('ruby-activesupport', {
    name: "Rails' redis_cache_store",
    version: '6.1',
    packages: ['ruby-activesupport', 'ruby-connection-pool'],
    note: 'read, write, fetch, many, increment, `delete_matched`, clear with and without a namespace, a pool of connections',
  }),
  ruby('ruby-redis-store', { name: 'redis-store', version: '1.9', note: 'objects, TTL, many, namespaces' }),
  ruby('ruby-redis-activesupport', {
    name: 'redis-activesupport',
    version: '5.3',
    note: 'read, write, fetch, many, increment, `delete_matched`, clear',
    mixesReplicaSets: true,
  }),
  ruby('ruby-redis-rack', { name: 'redis-rack', version: '2.1', note: 'sessions of Rack' }),
  ruby('ruby-redis-namespace', {
    name: 'redis-namespace',
    version: '1.9',
    note: 'strings, many, pipelines, transactions, SCAN',
  }),
  ruby('ruby-moneta', {
    name: 'Moneta',
    version: '1.5',
    note: 'values, TTL, create, increment, many, delete, clear',
  }),
  ruby('ruby-rack-attack', {
    name: 'Rack::Attack',
    version: '6.6',
    packages: ['ruby-rack-attack', 'ruby-activesupport'],
    note: "throttles and bans, counted in Rails' redis_cache_store",
  }),
  ruby('ruby-sidekiq', {
    name: 'Sidekiq',
    version: '6.4',
    note: 'a worker does jobs; they are sent, also for later, counted, found, deleted',
    mixesReplicaSets: true,
  }),

  // ---- Go
  go('redigo', 'golang-github-gomodule-redigo-dev', {
    name: 'Redigo',
    version: '1.8',
    note: `${CLIENT}, a pool of connections, database 1`,
  }),
  go('go-redis', 'golang-gopkg-redis.v5-dev', {
    name: 'go-redis',
    version: '5.2',
    note: `${CLIENT}, database 1`,
  }),
  go('redistore', 'golang-github-boj-redistore-dev', {
    name: 'redistore',
    version: '1.2',
    note: "Gorilla's sessions",
  }),

  // ---- C, Perl, Lua, Erlang
  debian(
    'C',
    'c',
    'c',
    'gcc',
    'libc6-dev',
  )('libhiredis-dev', {
    name: 'hiredis',
    version: '0.14',
    note: 'commands, bytes, hashes, sets, lists, pipelines, transactions, database 1; connects again',
  }),
  perl('libredis-perl', { name: 'Redis.pm', version: '2.000', note: CLIENT }),
  perl('libredis-fast-perl', { name: 'Redis::Fast', version: '0.34', note: CLIENT }),
  perl('libanyevent-redis-perl', {
    name: 'AnyEvent::Redis',
    version: '0.24',
    note: 'strings, hashes, sets, lists, many, commands at once',
  }),
  perl('libchi-driver-redis-perl', {
    name: 'CHI',
    version: '0.10',
    note: "Perl's caches: values, TTL, compute, many, keys, namespaces, clear",
  }),
  debian(
    'Lua',
    'lua',
    'lua',
    'lua5.1',
  )('lua-redis', {
    name: 'redis-lua',
    version: '2.0',
    note: 'strings, hashes, sets, lists, keys, pipelines, transactions, WATCH over one hash tag, database 1',
  }),
  debian(
    'Erlang',
    'erlang',
    'escript',
    'erlang-base',
  )('erlang-redis-client', {
    name: 'eredis',
    version: '1.2',
    note: 'commands, bytes, hashes, sets, lists, pipelines, transactions, database 1',
  }),
]

/** The table of docs/CLIENTS.md. */
export function table(): string {
  const rows = LIBRARIES.map(({ name, version, language, works, note, lacks, mixesReplicaSets }) => {
    const setting = mixesReplicaSets ? ['Needs `RESP_CROSS_SET_MULTI=unordered`, the default.'] : []
    const missing = lacks
      .map(([what, command]) => `${what.replace(/\w+\(\)/, '`$&`')} (\`${command}\`)`)
      .join(', ')
    const last = [...setting, ...(missing ? [`Does not work: ${missing}.`] : [])].join(' ')
    return `| ${name} (${version}) | ${language} | ${works}: ${note} | ${last} |`
  })
  const head = '| library (version) | language | works | with which setting, and what does not |'
  return [head, '| --- | --- | --- | --- |', ...rows].join('\n')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(table())
