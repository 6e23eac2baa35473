/**
 * Parses REDIS_URLS: the address and id of each node.
 *
 *     [id=][redis[s]://][user:password@]host:port[?weight=2&zone=a]
 *     [id=]redis[s]+sentinel://[user:password@]name@host:port,host:port…[?weight=2&zone=a]
 *
 * The second form names a service by its Sentinels, which know its primary. Commas separate them, too: a bare `host:port`
 * behind a Sentinel belongs to the same entry, and a node there needs its `redis://` or its id.
 *
 * The id is the node's name on the ring. By default it is the lower-case `host:port`; with a name of its own a node
 * may change its address and no key moves. Ids hold no `#`, which separates id and index in a vnode's label, and start
 * with a letter or digit.
 *
 * A list is split at commas, and nothing is guessed: in a user or password `,` is `%2C`, `@` is `%40`, `/` is `%2F`,
 * `?` is `%3F`, `#` is `%23` and `%` is `%25`. (A raw `=` is fine behind a scheme; without one it could end an id.)
 *
 * Passwords never appear in a problem. What stands before an `@` is `***`. Text is left out altogether where it could
 * be part of a password that was not encoded: around a raw `@ / ?` or `#`, and before a later entry that has an `@`
 * but no redis[s]://, since both may be the halves of one password with a raw comma. That is also why the reasons below
 * are fixed sentences that quote nothing.
 *
 * Not done here: resolving names, or detecting that two names lead to one server (the node's marker does that).
 */
import { BlockList, isIPv4, isIPv6 } from 'node:net'

export interface Place {
  /** A lower-case name, or an IP address without brackets. */
  readonly host: string
  readonly port: number
}

export interface NodeAddress extends Place {
  /** The stable name on the ring. */
  readonly id: string
  /** The service whose primary it is; then host and port are the first of its Sentinels. */
  readonly service?: Service
  readonly tls: boolean
  readonly username?: string
  readonly password?: string
  /** Multiplies the node's vnodes: 0.01 to 100, at most two decimals. */
  readonly weight: number
  readonly zone?: string
  /** `host:port`, with brackets around an IPv6 address; of a service `name@host:port,host:port`. */
  readonly address: string
}

/** A Redis with replicas that Sentinels watch. */
export interface Service {
  readonly name: string
  readonly sentinels: readonly Place[]
}

const DEFAULT_NODE_PORT = 6379
const DEFAULT_SENTINEL_PORT = 26_379
/** What Sentinel accepts as a name. */
const SERVICE = /^[\w.-]{1,64}$/
const MAX_SENTINELS = 15

const ID = /^[a-z0-9][a-z0-9._:-]{0,63}$/i
export const BAD_ID =
  'its id must be 1 to 64 letters, digits or . _ : - and start with a letter or digit, because it names ' +
  'the node in addresses and on the ring: choose another'
const ZONE = /^[a-z0-9][a-z0-9._-]{0,63}$/i
const WEIGHT = /^(0|[1-9]\d{0,2})(\.\d{1,2})?$/
const PORT = /^[1-9]\d{0,4}$/
const NAME_LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/
/** The system's resolver takes such names for IPv4 addresses: 127.1, 2130706433, 0x7f000001. */
const NUMERIC_LABEL = /^(\d+|0x[0-9a-f]*)$/

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8)
LOOPBACK.addAddress('::1', 'ipv6')

/** Of no node of a team: the machine's own network and its cloud's services, nobody's, everybody's. */
const UNSAFE = new BlockList()
UNSAFE.addSubnet('0.0.0.0', 8)
UNSAFE.addSubnet('169.254.0.0', 16)
UNSAFE.addSubnet('224.0.0.0', 3)
for (const metadata of ['100.100.100.200', '168.63.129.16', '192.0.0.192']) UNSAFE.addAddress(metadata)
UNSAFE.addAddress('::', 'ipv6')
UNSAFE.addAddress('fd00:ec2::254', 'ipv6')
UNSAFE.addSubnet('fe80::', 10, 'ipv6')
UNSAFE.addSubnet('ff00::', 8, 'ipv6')

/** @param address an IP address */
export function isUnsafeTarget(address: string): boolean {
  return UNSAFE.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** Parses the list, in order. Entries with a problem are left out of the nodes. */
export function parseNodeList(text: string): { nodes: NodeAddress[]; problems: string[] } {
  const entries = entriesOf(text).map((entry) => dissect(entry.trim()))
  const nodes: NodeAddress[] = []
  const problems: string[] = []
  const firstWithId = new Map<string, number>()
  const firstAtAddress = new Map<string, number>()
  const lastHalf = entries.findLastIndex((entry) => entry.userinfo !== undefined && !isRedis(entry.scheme))

  for (const [i, entry] of entries.entries()) {
    const { node, reasons } = check(entry)
    if (node) {
      const sameId = remember(firstWithId, node.id, i)
      const sameAddress = remember(firstAtAddress, node.address, i)
      if (sameAddress !== undefined)
        reasons.push(
          `it has the address of entry ${sameAddress + 1}, and a node counts once: remove one of them`,
        )
      else if (sameId !== undefined)
        reasons.push(`it has the id of entry ${sameId + 1}, and an id names one node: give it another`)
      if (reasons.length === 0) nodes.push(node)
    }
    const shown = i < lastHalf ? null : show(entry)
    const which = `entry ${i + 1} of ${entries.length} (${shown ?? 'not shown, it may hold a password'})`
    for (const reason of reasons) problems.push(`${which}: ${reason}.`)
    if (reasons.length > 0 && i < lastHalf && entry.userinfo === undefined)
      problems.push(`${which}: if a password has a comma, write it as %2C, because a comma ends an entry.`)
  }
  return { nodes, problems }
}

/** For logs: id, address, and whether there is a password, but never the password. */
export function describe(node: NodeAddress): string {
  const extras = [
    node.id === node.address ? '' : node.service ? `the primary of ${node.address}` : `at ${node.address}`,
    node.tls ? 'TLS' : '',
    node.password === undefined ? '' : 'with a password',
    node.weight === 1 ? '' : `weight ${node.weight}`,
    node.zone === undefined ? '' : `zone ${node.zone}`,
  ].filter((extra) => extra !== '')
  return extras.length === 0 ? node.id : `${node.id} (${extras.join(', ')})`
}

/** A host in its one spelling: lower case, IPv6 shortened and without brackets; null when it is none. */
export function parseHost(text: string): string | null {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text
  if (isIPv6(bare)) return bare.includes('%') ? null : new URL(`http://[${bare}]`).hostname.slice(1, -1)
  if (bare !== text) return null
  if (isIPv4(text)) return text
  const name = text.toLowerCase()
  const labels = name.replace(/\.$/, '').split('.')
  if (name.length > 253 || !labels.every((label) => NAME_LABEL.test(label))) return null
  return NUMERIC_LABEL.test(labels.at(-1) ?? '') ? null : name
}

/** Whether only this machine can reach the host, as far as its text tells: `localhost`, 127.0.0.0/8, ::1. */
export function isLoopback(host: string): boolean {
  const name = parseHost(host)
  if (name === null) return false
  if (isIPv6(name)) return LOOPBACK.check(name, 'ipv6')
  return isIPv4(name) ? LOOPBACK.check(name) : name === 'localhost' || name === 'localhost.'
}

/** One entry cut at its separators; nothing is checked yet. */
interface Entry {
  readonly id?: string
  readonly scheme?: string
  readonly userinfo?: string
  /** Before the @ of an entry with Sentinels. */
  readonly service?: string
  readonly hostPort: string
  readonly path: string
  readonly parameters: readonly string[]
  /** An id and a user cannot be told apart, or the user part holds what must be encoded. */
  readonly unclear?: 'id or user' | 'raw separator'
}

/** Bare places behind a Sentinel are Sentinels of the same entry, which ends with its parameters. */
function entriesOf(text: string): string[] {
  const entries: string[] = []
  for (const part of text.split(',')) {
    const last = entries.at(-1) ?? ''
    const isOpen = /^\s*([^@/?=]*=)?rediss?\+sentinel:\/\/[^?]*$/i.test(last)
    if (isOpen && /^[^@/=?]*(\/?\?.*)?$/s.test(part)) entries[entries.length - 1] = `${last},${part.trim()}`
    else entries.push(part)
  }
  return entries
}

function dissect(text: string): Entry {
  const withScheme = /^(?:([^@/?=]*)=)?([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(text)
  // Without a scheme `:pass=word@host` can only be a user part: no id starts with a colon.
  const withId = withScheme ?? /^(?:([^@/?=:][^@/?=]*|)=)()(.*)$/s.exec(text)
  const id = withId?.[1]
  const scheme = withScheme?.[2]?.toLowerCase()
  const rest = withId?.[3] ?? text

  const at = rest.lastIndexOf('@')
  const before = at < 0 ? undefined : rest.slice(0, at)
  const { service, userinfo } = isSentinel(scheme) ? cutService(before) : { userinfo: before }
  const [place = '', ...queries] = rest.slice(at + 1).split('?')
  const slash = place.indexOf('/')
  const query = queries.join('?')

  return {
    ...(id === undefined ? {} : { id }),
    ...(scheme === undefined ? {} : { scheme }),
    ...(userinfo === undefined ? {} : { userinfo }),
    ...(service === undefined ? {} : { service }),
    hostPort: slash < 0 ? place : place.slice(0, slash),
    path: slash < 0 ? '' : place.slice(slash),
    parameters: query === '' ? [] : query.split('&'),
    ...(userinfo !== undefined && /[@/?#]/.test(userinfo)
      ? { unclear: 'raw separator' as const }
      : userinfo !== undefined && scheme === undefined && id?.includes(':')
        ? { unclear: 'id or user' as const }
        : {}),
  }
}

function cutService(before: string | undefined): { service?: string; userinfo?: string } {
  if (before === undefined) return {}
  const at = before.lastIndexOf('@')
  return at < 0 ? { service: before } : { service: before.slice(at + 1), userinfo: before.slice(0, at) }
}

function check(entry: Entry): { node: NodeAddress | null; reasons: string[] } {
  if (entry.unclear === 'raw separator')
    return refuse(
      'the user and password must not hold a raw @, /, ? or #, or it is unclear where the host begins: ' +
        'write them as %40, %2F, %3F and %23',
    )
  if (entry.unclear === 'id or user')
    return refuse(
      'it is unclear whether an id or a password ends at the =: ' +
        'put redis:// before the user, and write an = in a password as %3D',
    )
  if (entry.hostPort === '' && entry.userinfo === undefined && entry.scheme === undefined)
    return refuse('it names no host: write host:port, or remove the comma that is too many')

  const reasons: string[] = []
  const { scheme = 'redis', path } = entry
  if (!isRedis(scheme)) {
    reasons.push('its scheme is unknown: use redis://, or rediss:// for TLS; redis+sentinel:// for Sentinels')
  }
  const place = isSentinel(scheme) ? readService(entry) : readHostPort(entry.hostPort)
  if (place.reason !== undefined) reasons.push(place.reason)
  if (/^\/0*[1-9]\d*$/.test(path))
    reasons.push('Rondo uses database 0 only, which is the one that clusters have too: remove the path')
  else if (path !== '' && path !== '/' && path !== '/0')
    reasons.push(
      'a path has no meaning here: end the entry after host:port, or go on with ?weight= or ?zone=',
    )

  const credentials = entry.userinfo === undefined ? {} : readCredentials(entry.userinfo)
  if (credentials.reason !== undefined) reasons.push(credentials.reason)
  const { reasons: parameterReasons, weight, zone } = readParameters(entry.parameters)
  reasons.push(...parameterReasons)

  const id = entry.id ?? place.service?.name ?? place.address
  if (entry.id !== undefined && !isNodeId(entry.id)) reasons.push(BAD_ID)
  if (reasons.length > 0 || place.reason !== undefined || id === undefined) return { node: null, reasons }
  const { username, password } = credentials
  return {
    node: {
      id,
      host: place.host,
      port: place.port,
      ...(place.service && { service: place.service }),
      tls: scheme.startsWith('rediss'),
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      weight,
      ...(zone === undefined ? {} : { zone }),
      address: place.address,
    },
    reasons,
  }
}

type PlaceRead =
  | { host: string; port: number; address: string; service?: Service; reason?: never }
  | { reason: string; address?: never; service?: never }

/** Also the address of the node, its id where none is given. */
export function isNodeId(text: string): boolean {
  return ID.test(text) || readHostPort(text).address === text
}

function readService({ service: name, hostPort }: Entry): PlaceRead {
  if (name === undefined || !SERVICE.test(name)) {
    return {
      reason:
        'before the @ there is no name of a service as Sentinel knows it (letters, digits or . _ -): write ' +
        'redis+sentinel://name@host:port,host:port, with user:password@ before the name',
    }
  }
  const sentinels: Place[] = []
  const addresses: string[] = []
  for (const text of hostPort.split(',')) {
    const read = readHostPort(text, DEFAULT_SENTINEL_PORT)
    if (read.reason !== undefined) return { reason: read.reason }
    sentinels.push({ host: read.host, port: read.port })
    addresses.push(read.address)
  }
  if (new Set(addresses).size < addresses.length) return { reason: 'it names a Sentinel twice: remove one' }
  if (sentinels.length > MAX_SENTINELS) return { reason: `it names more than ${MAX_SENTINELS} Sentinels` }
  return { ...sentinels[0]!, address: `${name}@${addresses.join(',')}`, service: { name, sentinels } }
}

/** @returns null for a text that is none */
export function parsePlace(text: string): Place | null {
  const read = readHostPort(text)
  return read.reason === undefined ? { host: read.host, port: read.port } : null
}

/** `host:port`, with brackets around an IPv6 address. */
export function placeText({ host, port }: Place): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`
}

/** The url of the node without its user and password. */
export function urlOf({ tls, service, address }: NodeAddress): string {
  return `${tls ? 'rediss' : 'redis'}${service ? '+sentinel' : ''}://${address}`
}

function readHostPort(text: string, defaultPort = DEFAULT_NODE_PORT): PlaceRead {
  const [, hostText = '', portText] = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/s.exec(text) ?? []
  if (portText?.includes(':'))
    return { reason: 'it has too many colons: write host:port, with an IPv6 address in brackets, [::1]:6379' }
  const host = parseHost(hostText)
  if (host === null)
    return { reason: 'its host is neither a name nor an IP address (IPv6 in brackets): write host:port' }
  const port = portText === undefined ? defaultPort : PORT.test(portText) ? Number(portText) : 0
  if (port < 1 || port > 65_535)
    return {
      reason: `its port must be a whole number from 1 to 65535: correct it, or leave the colon out for ${defaultPort}`,
    }
  return { host, port, address: placeText({ host, port }) }
}

function readCredentials(userinfo: string): { username?: string; password?: string; reason?: string } {
  const colon = userinfo.indexOf(':')
  if (colon < 0 || colon === userinfo.length - 1)
    return {
      reason: 'before the @ there is no password: write user:password@, or :password@ for the default user',
    }
  try {
    const username = decodeURIComponent(userinfo.slice(0, colon))
    const password = decodeURIComponent(userinfo.slice(colon + 1))
    return username === '' ? { password } : { username, password }
  } catch {
    return {
      reason: 'a % in the user or password does not start an encoded character: write % itself as %25',
    }
  }
}

export const isZone = (zone: string): boolean => ZONE.test(zone)
export const isWeight = (weight: number): boolean => weight >= 0.01 && weight <= 100

function readParameters(parameters: readonly string[]): { weight: number; zone?: string; reasons: string[] } {
  const reasons: string[] = []
  const found = new Map<string, string>()
  for (const parameter of parameters) {
    const [name, value] = cut(parameter)
    if (name !== 'weight' && name !== 'zone')
      reasons.push('it has a parameter that is unknown: only weight and zone can follow the ?')
    else if (found.has(name)) reasons.push(`${name} is given twice: remove one of them`)
    else found.set(name, value ?? '')
  }
  const weightText = found.get('weight') ?? '1'
  const weight = WEIGHT.test(weightText) ? Number(weightText) : 0
  if (!isWeight(weight))
    reasons.push(
      'its weight must be a number from 0.01 to 100 with at most two decimals: correct or remove it',
    )
  const zone = found.get('zone')
  if (zone !== undefined && !isZone(zone))
    reasons.push('its zone must be 1 to 64 letters, digits or . _ - : correct or remove it')
  return { weight, ...(zone === undefined ? {} : { zone }), reasons: [...new Set(reasons)] }
}

/** The entry without its secrets, quoted; null where nothing of it is safe to show. */
function show(entry: Entry): string | null {
  if (entry.unclear) return null
  const { id, scheme, userinfo, service } = entry
  // Without a known scheme, what looks like an id or a scheme may be the beginning of a password.
  const open = userinfo === undefined || isRedis(scheme)
  const query = entry.parameters.map((parameter) => {
    const [name, value] = cut(parameter)
    if (name === 'weight' || name === 'zone') return parameter
    return value === undefined ? '***' : `${name}=***`
  })
  const text = [
    open && id !== undefined ? `${id}=` : '',
    open && scheme !== undefined ? `${scheme}://` : '',
    userinfo === undefined && service === undefined ? '' : '***@',
    // In redis://user:password, with @host forgotten, the password stands where a port or path would.
    entry.hostPort
      .split(',')
      .map((place) => place.replace(/^(\[[^\]]*\]|[^:]*):(?!\d{0,5}$).*$/s, '$1:***'))
      .join(','),
    /^(\/\d{0,3})?$/.test(entry.path) ? entry.path : '/***',
    query.length === 0 ? '' : `?${query.join('&')}`,
  ].join('')
  const short = text.length > 120 ? `${text.slice(0, 120)}…` : text
  // A control or bidirectional character would let an entry rewrite the log line that it stands in.
  return JSON.stringify(short).replace(
    /[^ -~…]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function isRedis(scheme: string | undefined): boolean {
  return scheme === 'redis' || scheme === 'rediss' || isSentinel(scheme)
}

function isSentinel(scheme: string | undefined): boolean {
  return scheme === 'redis+sentinel' || scheme === 'rediss+sentinel'
}

function cut(parameter: string): [name: string, value: string | undefined] {
  const equals = parameter.indexOf('=')
  return equals < 0 ? [parameter, undefined] : [parameter.slice(0, equals), parameter.slice(equals + 1)]
}

/** Notes the first index of a key; answers it when there was one before. */
function remember(first: Map<string, number>, key: string, index: number): number | undefined {
  const before = first.get(key)
  if (before === undefined) first.set(key, index)
  return before
}

function refuse(reason: string): { node: null; reasons: string[] } {
  return { node: null, reasons: [reason] }
}
