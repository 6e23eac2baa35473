// Finds a real redis-server for the tests and returns its path: REDIS_SERVER_BIN, then redis-server or
// valkey-server on PATH, then, on a Debian system, the distribution's own package unpacked below
// node_modules/.cache. That last way needs no root, starts no service and changes nothing of the system:
// where the system's package lists are missing or too old, it fetches lists into a state folder of its own.
// Otherwise it throws, with the one line to type on this platform.
//
// What was unpacked is moved into place by one rename, so that test runs started side by side see either
// all of it or nothing. `node scripts/find-redis-server.mjs` prints the path.
import { spawn } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { delimiter, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const cacheDir = fileURLToPath(new URL('../node_modules/.cache/rondo/redis/', import.meta.url))
const unpackedDir = join(cacheDir, 'unpacked')
const oldestVersion = [6, 2]
const downloadTimeoutMs = 300_000
// Debian keeps the program in the -tools package and only a link to it in the -server package.
const packageSets = [
  { binary: 'redis-server', packages: ['redis-server', 'redis-tools'] },
  { binary: 'valkey-server', packages: ['valkey-server', 'valkey-tools'] },
]
// A missing library belongs to a direct dependency, or to a dependency of one; deeper has not been seen.
const maxDependencyDepth = 4

let found // one search a process, however many tests ask

/** The path of an executable Redis or Valkey server, 6.2 or newer. Throws an Error that says what to type. */
export function findRedisServer() {
  found ??= search()
  return found
}

async function search() {
  const named = process.env.REDIS_SERVER_BIN
  if (named) {
    const path = named.includes('/') ? resolve(named) : (onPath(named) ?? named)
    const problem = await whyUnusable(path)
    if (problem) throw new Error(`REDIS_SERVER_BIN is ${named}, and it ${problem}`)
    return path
  }
  for (const binary of ['redis-server', 'valkey-server']) {
    const path = onPath(binary)
    if (!path) continue
    const problem = await whyUnusable(path)
    if (!problem) return path
    say(`${path} ${problem}; looking further`)
  }
  let reason = 'No redis-server was found.'
  if (existsSync('/etc/debian_version') && onPath('apt-get') && onPath('dpkg-deb')) {
    try {
      return await fromDebian()
    } catch (error) {
      reason = `No redis-server was found, and Debian's package could not be fetched: ${error.message}`
    }
  }
  throw new Error(`${reason}\nThe tests need one. Type: ${whatToType()}`)
}

function onPath(binary) {
  for (const dir of (process.env.PATH ?? '').split(delimiter)) {
    if (dir === '') continue
    const path = join(dir, binary)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // not in this folder
    }
  }
  return undefined
}

/** A reason not to use this binary, or undefined when it runs and is new enough. */
async function whyUnusable(path) {
  const run = await attempt(path, ['--version'], { timeoutMs: 10_000 })
  if (run.code !== 0) return `does not run (${run.output.trim() || `exit code ${run.code}`})`
  const version = /server v=(\d+)\.(\d+)/i.exec(run.output)
  if (!version) return `is no Redis server: --version says "${run.output.trim().split('\n')[0]}"`
  const [major, minor] = [Number(version[1]), Number(version[2])]
  const newEnough = major > oldestVersion[0] || (major === oldestVersion[0] && minor >= oldestVersion[1])
  return newEnough ? undefined : `is version ${major}.${minor}; ${oldestVersion.join('.')} or newer is needed`
}

function whatToType() {
  if (process.platform === 'darwin') return 'brew install redis'
  if (process.platform === 'win32') return 'wsl --install   (and run the tests inside of it)'
  if (onPath('apt-get')) return 'sudo apt-get install redis-server'
  if (onPath('dnf')) return 'sudo dnf install valkey'
  if (onPath('apk')) return 'sudo apk add redis'
  if (onPath('pacman')) return 'sudo pacman -S valkey'
  if (onPath('zypper')) return 'sudo zypper install redis'
  return 'export REDIS_SERVER_BIN=/path/to/redis-server   (any Redis 6.2 or newer, or Valkey)'
}

// --- Debian ---

async function fromDebian() {
  const cached = await usableIn(unpackedDir)
  if (cached) return cached

  say(
    "no redis-server on PATH: fetching Debian's package (no root, no service, only below node_modules/.cache)",
  )
  await mkdir(cacheDir, { recursive: true })
  const work = await mkdtemp(join(cacheDir, 'work-'))
  try {
    const root = await unpackServer(new Apt(work))
    if (!(await usableIn(root.dir))) throw new Error(await whyUnusable(root.entry))
    // What another run has put there meanwhile may be in use already.
    if (!(await usableIn(unpackedDir))) await rm(unpackedDir, { recursive: true, force: true })
    await rename(root.dir, unpackedDir).catch((error) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
    })
  } finally {
    await rm(work, { recursive: true, force: true })
  }
  const path = await usableIn(unpackedDir)
  if (!path) throw new Error('what was unpacked does not run')
  say(`unpacked: ${path}`)
  return path
}

async function usableIn(dir) {
  for (const { binary } of packageSets) {
    for (const path of [join(dir, binary), join(dir, 'usr/bin', binary)]) {
      if (existsSync(path) && !(await whyUnusable(path))) return path
    }
  }
  return undefined
}

/** Unpacks a server and every library that the system lacks; the entry is the binary, or a wrapper of it. */
async function unpackServer(apt) {
  let failure
  for (const { binary, packages } of packageSets) {
    const dir = join(apt.work, binary)
    try {
      await apt.unpack(packages, dir)
    } catch (error) {
      failure ??= error
      continue
    }
    const path = join(dir, 'usr/bin', binary)
    await addMissingLibraries(apt, packages, path, dir)
    const folders = await libraryFolders(dir)
    if (folders.length === 0) return { dir, entry: path }
    const entry = join(dir, binary)
    await writeFile(entry, wrapper(binary, folders))
    await chmod(entry, 0o755)
    return { dir, entry }
  }
  throw failure
}

async function addMissingLibraries(apt, packages, binary, dir) {
  const seen = new Set(packages)
  let level = packages
  for (let depth = 0; depth < maxDependencyDepth; depth++) {
    const missing = await missingLibraries(binary, dir)
    if (missing.length === 0) return
    say(`missing here: ${missing.join(', ')}`)
    level = (await apt.dependencies(level)).filter((name) => !seen.has(name))
    for (const name of level) seen.add(name)
    const toFetch = []
    for (const name of level) if (!(await isInstalled(name))) toFetch.push(name)
    if (toFetch.length > 0) await apt.unpack(toFetch, dir)
  }
  const missing = await missingLibraries(binary, dir)
  if (missing.length > 0) throw new Error(`no package brought ${missing.join(', ')}`)
}

async function missingLibraries(binary, dir) {
  const folders = (await libraryFolders(dir)).map((folder) => join(dir, folder))
  const run = await attempt('ldd', [binary], { env: { LD_LIBRARY_PATH: folders.join(':') } })
  return [...run.output.matchAll(/^\s*(\S+) => not found/gm)].map((match) => match[1])
}

async function isInstalled(name) {
  const run = await attempt('dpkg-query', ['-W', '-f=${db:Status-Status}', name])
  return run.code === 0 && run.output.trim() === 'installed'
}

/** The folders below dir, relative to it, that hold shared libraries. */
async function libraryFolders(dir) {
  const folders = new Set()
  for (const top of ['lib', 'usr/lib']) {
    if (!existsSync(join(dir, top))) continue
    for (const entry of await readdir(join(dir, top), { recursive: true, withFileTypes: true })) {
      if (/\.so(\.|$)/.test(entry.name)) folders.add(entry.parentPath.slice(dir.length + 1))
    }
  }
  return [...folders]
}

// exec: the wrapper's process becomes the server, so a signal to its pid reaches the server itself.
function wrapper(binary, folders) {
  const paths = folders.map((folder) => `$here/${folder}`).join(':')
  return `#!/bin/sh
here=\${0%/*}
LD_LIBRARY_PATH="${paths}\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH
exec "$here/usr/bin/${binary}" "$@"
`
}

/** apt-get as any user: first with the system's package lists, then with lists of its own. */
class Apt {
  #options = []

  constructor(work) {
    this.work = work
  }

  async unpack(packages, dir) {
    const debs = await mkdtemp(join(this.work, 'debs-'))
    await this.#download(packages, debs)
    for (const file of await readdir(debs)) {
      if (!file.endsWith('.deb')) continue
      say(`unpacking ${file}`)
      await mustRun('dpkg-deb', ['-x', join(debs, file), dir])
    }
    await rm(debs, { recursive: true })
  }

  async #download(packages, cwd) {
    const args = ['download', '-q', '-o', 'APT::Sandbox::User=root', ...packages]
    const first = await attempt('apt-get', [...this.#options, ...args], { cwd })
    if (first.code === 0) return
    if (this.#options.length > 0) throw new Error(lastLines(first.output))
    // Lists that are missing, or that name a file which the mirror has replaced since.
    await this.#useOwnLists()
    await mustRun('apt-get', [...this.#options, ...args], { cwd })
  }

  async #useOwnLists() {
    say('fetching package lists (apt-get update, in a folder of our own)')
    const state = join(this.work, 'apt')
    await mkdir(join(state, 'lists/partial'), { recursive: true })
    await mkdir(join(state, 'cache/archives/partial'), { recursive: true })
    const settings = {
      'Dir::State': state,
      'Dir::State::lists': join(state, 'lists'),
      'Dir::State::status': '/var/lib/dpkg/status',
      'Dir::Cache': join(state, 'cache'),
      'Dir::Log': state,
      'APT::Sandbox::User': 'root', // else root hands the download to a user who may not write here
      'Acquire::Languages': 'none',
      'Acquire::Retries': '2',
    }
    this.#options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
    // The system's hooks after an update may fail without root, although the lists have come: the
    // download that follows is what tells.
    const update = await attempt('apt-get', [...this.#options, 'update', '-q'])
    if (update.code !== 0) say(lastLines(update.output))
  }

  async dependencies(packages) {
    const run = await attempt('apt-cache', [...this.#options, 'depends', '--important', ...packages])
    // "|" marks an alternative, "<…>" a virtual package: neither is needed to find a library.
    return [...run.output.matchAll(/^ {2}(?:Pre)?Depends: ([^<\s]+)$/gm)].map((match) => match[1])
  }
}

// --- small things ---

/** Runs a program to its end; never throws, output is both streams together. */
function attempt(command, args, { cwd, env, timeoutMs = downloadTimeoutMs } = {}) {
  return new Promise((done) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, LC_ALL: 'C', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    child.on('error', (error) => done({ code: -1, output: error.message }))
    child.on('close', (code, signal) =>
      done({ code: code ?? -1, output: signal ? `${output}\n${signal}` : output }),
    )
  })
}

async function mustRun(command, args, options) {
  const run = await attempt(command, args, options)
  if (run.code !== 0) throw new Error(`${command}: ${lastLines(run.output)}`)
}

function lastLines(text) {
  return text.trim().split('\n').slice(-4).join('\n')
}

function say(line) {
  console.error(`redis-server: ${line}`)
}

// No top-level await: a file that has one cannot be loaded by require().
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  findRedisServer().then(console.log, (error) => {
    console.error(error.message)
    process.exitCode = 1
  })
}
