/**
 * The members of the configuration, and those that join later. A node that joins is known by its address alone, which all
 * coordinators read from the cluster; how to authenticate there stays in each one's own configuration: an entry of
 * REDIS_URLS with its id, or else the user and password that all entries share.
 */
import type { Certificates } from './certificates.ts'
import { Member } from '../cluster/member.ts'
import type { Config } from '../config/config.ts'
import { parseNodeList, type NodeAddress } from '../config/node-addresses.ts'
import type { Clock, Timers } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'
import type { TopologyMember } from '../core/topology.ts'
import { MemoryNode } from '../nodes/memory/memory-node.ts'
import { RedisNode } from '../nodes/redis/redis-node.ts'

export interface MembersOptions {
  readonly config: Config
  readonly certificates: Certificates
  readonly clock: Clock
  readonly timers: Timers
  readonly emit: Emit
}

export class Members {
  private readonly options: MembersOptions

  constructor(options: MembersOptions) {
    this.options = options
  }

  /** Those of the configuration. */
  configured(): Member[] {
    const { nodes } = this.options.config
    if (nodes.kind === 'redis') return nodes.addresses.map((address) => this.at(address))
    return Array.from({ length: nodes.count }, (_, i) =>
      this.inProcess(`memory-${i + 1}`, nodes.maxBytesPerNode),
    )
  }

  /** @throws Error if the address cannot be used */
  joined({ id, url, weight, zone }: TopologyMember): Member {
    const { nodes } = this.options.config
    if (nodes.kind === 'memory')
      throw new Error('nodes in this process have no others beside them: set REDIS_URLS')
    const own = nodes.addresses.find((address) => address.id === id)
    if (own) return this.at(own)
    const [address] = parseNodeList(`${id}=${url}`).nodes
    if (!address) throw new Error(`member ${id} has no address that this coordinator understands`)
    return this.at({ ...address, ...sharedBy(nodes.addresses), weight, ...(zone !== null && { zone }) })
  }

  private inProcess(id: string, maxBytes: number): Member {
    const { config, clock, timers, emit } = this.options
    return new Member(new MemoryNode({ id, maxBytes, graceMs: config.graceMs, clock, timers }), { emit })
  }

  private at(address: NodeAddress): Member {
    const { config, certificates, clock, timers, emit } = this.options
    const { graceMs, nodeTimeoutMs, connectTimeoutMs, maxValueBytes } = config
    const { id, weight, zone, tls } = address
    const node = new RedisNode({
      ...{ id, address, graceMs, nodeTimeoutMs, connectTimeoutMs, maxValueBytes, clock, timers },
      tlsOptions: certificates.forNode,
    })
    return new Member(node, { emit, weight, zone, url: `${tls ? 'rediss' : 'redis'}://${address.address}` })
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
