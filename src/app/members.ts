/**
 * The members of the configuration, and those that join later. A node that joins, or moves, is known by its address alone,
 * which all coordinators read from the cluster; how to authenticate there stays in each one's own configuration: an entry
 * of REDIS_URLS with its id, or else the user and password that all entries share.
 */
import { join, resolve } from 'node:path'
import { checkOwnNodes, checkOwnSettings, type CreateNodes } from './own-nodes.ts'
import type { Certificates } from './certificates.ts'
import { Member } from '../cluster/member.ts'
import { foreignValue } from '../commands/dump/foreign.ts'
import type { Config, MemoryFiles, MemoryNodes } from '../config/config.ts'
import { parseNodeList, placeText, urlOf, type NodeAddress } from '../config/node-addresses.ts'
import type { Clock, Timers } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'
import type { TopologyMember } from '../core/topology.ts'
import { Work } from '../core/work.ts'
import { GuardedNode } from '../nodes/guarded-node.ts'
import { DataFolder } from '../nodes/memory/disk/data-folder.ts'
import { FolderOnDisk } from '../nodes/memory/disk/disk.ts'
import { Journal } from '../nodes/memory/disk/journal.ts'
import { MemoryNode } from '../nodes/memory/memory-node.ts'
import { NearCache } from '../nodes/near/near-cache.ts'
import type { ReadDump } from '../nodes/redis/options.ts'
import { RedisNode } from '../nodes/redis/redis-node.ts'
import { SentinelPlace, Sentinels } from '../nodes/redis/sentinel.ts'

export interface MembersOptions {
  readonly config: Config
  readonly certificates: Certificates
  readonly clock: Clock
  readonly timers: Timers
  readonly emit: Emit
  /** Of the embedding program, instead of those of the configuration. */
  readonly createNodes: CreateNodes | undefined
  /** 64 random bits. */
  readonly randomId: () => string
}

const SHARED_CREDENTIALS =
  'REDIS_URLS does not name it, so the user and password were used that all its entries share, if they do: give it an ' +
  'entry with its id'

export class Members {
  readonly sentinels: Sentinels
  /** Null: nothing is kept in this process. */
  readonly near: NearCache | null
  private readonly options: MembersOptions
  /** For what nodes hold in a form that takes long to read. */
  private readonly work: Work
  private readonly memoryNodes: MemoryNode[] = []
  private readonly journals: Journal[] = []
  private folder: DataFolder | null = null

  constructor(options: MembersOptions) {
    this.options = options
    const { config, certificates, clock, timers, createNodes } = options
    const { nodes } = config
    this.work = new Work({ monotonicMs: () => clock.monotonicMs(), timers })
    const hasNear = nodes.kind === 'redis' && !createNodes && config.nearCache.maxBytes > 0
    this.near = hasNear ? new NearCache({ ...config.nearCache, clock }) : null
    this.sentinels = new Sentinels({
      ...config,
      credentials: nodes.kind === 'redis' ? nodes.sentinelCredentials : {},
      tlsOptions: certificates.forNode,
      timers,
    })
  }

  /** host:port of the primary, for a url that names Sentinels; null for others. @throws Error */
  async primaryOf(url: string): Promise<string | null> {
    const [address] = parseNodeList(url).nodes
    if (!address?.service) return null
    return placeText(await this.sentinels.primaryOf({ ...address.service, tls: address.tls }))
  }

  /** Those of the configuration. */
  configured(): Member[] {
    const { createNodes, config } = this.options
    if (createNodes) return this.own(createNodes)
    const { nodes } = config
    if (nodes.kind === 'redis') return nodes.addresses.map((address) => this.at(address))
    return Array.from({ length: nodes.count }, (_, i) => this.inProcess(`memory-${i + 1}`, nodes))
  }

  /** Reads what nodes of this process have in DATA_DIR, before anything is asked of them. @throws DiskError */
  async openFiles(): Promise<void> {
    const { config, clock, timers, emit, randomId } = this.options
    if (config.nodes.kind !== 'memory' || !config.nodes.files || this.memoryNodes.length === 0) return
    const onLost = (why: string) => {
      for (const journal of this.journals) journal.forbid(why)
    }
    const ids = this.memoryNodes.map(({ id }) => id)
    const options = { clock, timers, emit, randomId, onLost }
    this.folder = await DataFolder.open(config.nodes.files.folder, ids, options)
    try {
      await Promise.all(this.memoryNodes.map((node) => node.readFiles()))
    } catch (error) {
      await this.closeFiles()
      throw error
    }
  }

  /** Resolves when a snapshot of each is on the disk; null = nothing is kept there. */
  async save(): Promise<readonly { readonly id: string; readonly bytes: number }[] | null> {
    if (!this.folder) return null
    return Promise.all(
      this.journals.map(async (journal) => {
        await journal.snapshot()
        return { id: journal.node, bytes: journal.report.snapshotBytes }
      }),
    )
  }

  /** After the nodes are closed. */
  async closeFiles(): Promise<void> {
    await this.folder?.close()
    this.folder = null
  }

  /** @throws Error if the address cannot be used */
  joined({ id, url, weight, zone, isGiven, primary }: TopologyMember): Member {
    const { createNodes, config } = this.options
    const { nodes } = config
    if (createNodes) throw new Error('the nodes of this program have no others beside them')
    if (nodes.kind === 'memory')
      throw new Error('nodes in this process have no others beside them: set REDIS_URLS')
    const own = nodes.addresses.find((address) => address.id === id)
    if (own && !isGiven && (primary === undefined || own.service)) return this.at(own, { primary })
    const [address] = parseNodeList(`${id}=${url}`).nodes
    if (!address) throw new Error(`member ${id} has no address that this coordinator understands`)
    const shared = sharedBy(own ? [own] : nodes.addresses)
    const placed = { ...address, ...shared, weight, ...(zone !== null && { zone }) }
    return this.at(placed, { primary, credentials: SHARED_CREDENTIALS })
  }

  private own(createNodes: CreateNodes): Member[] {
    const { config, clock, timers, emit } = this.options
    checkOwnSettings(config.nodes)
    const { graceMs, maxValueBytes, nodeTimeoutMs, connectTimeoutMs } = config
    const settings = { graceMs, maxValueBytes, nodeTimeoutMs, connectTimeoutMs, clock, timers }
    return checkOwnNodes(createNodes(settings)).map(
      ({ node, weight, zone }) =>
        new Member(new GuardedNode(node, { timers, nodeTimeoutMs }), { emit, weight, zone }),
    )
  }

  private inProcess(id: string, nodes: MemoryNodes): Member {
    const { config, clock, timers, emit, randomId } = this.options
    const { maxBytesPerNode: maxBytes, maxEntriesPerNode: maxEntries, files } = nodes
    const options = { id, maxBytes, maxEntries, graceMs: config.graceMs, clock, timers }
    // What is on a disk outlives the run: who holds it has to tell one run from the next.
    const kept = files && { journal: this.journalOf(id, files), runId: randomId() }
    const node = new MemoryNode({ ...options, ...kept })
    this.memoryNodes.push(node)
    return new Member(node, { emit })
  }

  private journalOf(id: string, { folder, fsync, snapshotIntervalMs }: MemoryFiles): Journal {
    const { clock, timers, emit } = this.options
    const disk = new FolderOnDisk(join(resolve(folder), id))
    const journal = new Journal({ node: id, disk, fsync, snapshotIntervalMs, clock, timers, emit })
    this.journals.push(journal)
    return journal
  }

  private readonly readDump: ReadDump = (dump, done) => {
    const { maxValueBytes } = this.options.config
    this.work.run(foreignValue(dump, { maxValueBytes, random: Math.random }), done, () => done(null))
  }

  /** @param primary where it is, if the address names Sentinels, and the members have agreed on it */
  private at(
    address: NodeAddress,
    { primary, credentials }: { primary?: string | undefined; credentials?: string } = {},
  ): Member {
    const { config, certificates, clock, timers, emit } = this.options
    const { graceMs, nodeTimeoutMs, connectTimeoutMs, maxValueBytes } = config
    const { id, weight, zone, service, tls } = address
    const sentinel = service ? new SentinelPlace(this.sentinels, { ...service, tls }, address) : null
    if (primary !== undefined) sentinel?.moveTo(primary)
    const node = new RedisNode({
      ...(sentinel && { locate: sentinel.locate }),
      ...{
        id,
        address: sentinel?.target ?? address,
        graceMs,
        nodeTimeoutMs,
        connectTimeoutMs,
        maxValueBytes,
        clock,
        timers,
      },
      readDump: this.readDump,
      maxStalenessMs: config.nearCache.maxStalenessMs,
      tlsOptions: certificates.forNode,
      ...(this.near && {
        near: { cache: this.near, onTracking: (why) => emit({ kind: 'near-cache', node: id, why }) },
      }),
    })
    const url = urlOf(address)
    const options = { emit, weight, zone, url, sentinel, ...(credentials !== undefined && { credentials }) }
    return new Member(node, options)
  }
}

/** The user and password of all of them, where they are the same. */
function sharedBy(addresses: readonly NodeAddress[]): Pick<NodeAddress, 'username' | 'password'> {
  const [first] = addresses
  const { username, password } = first ?? {}
  const isShared = addresses.every((one) => one.username === username && one.password === password)
  if (!isShared) return {}
  return { ...(username !== undefined && { username }), ...(password !== undefined && { password }) }
}
