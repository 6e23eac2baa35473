/** Gauges of this coordinator's view of its nodes, computed when they are read. */
import { Gauge, type Registry } from 'prom-client'
import type { Cluster } from '../cluster/cluster.ts'
import type { Member } from '../cluster/member.ts'
import type { NodeFiles, NodeReport } from '../nodes/node.ts'

const NODE_STATES = ['up', 'suspect', 'down'] as const

export function registerNodeMetrics(registry: Registry, cluster: Cluster): void {
  const registers = [registry]
  registerState(registers, cluster)
  registerCompleteness(registers, cluster)
  registerSyncedAge(registers, cluster)
  registerClockOffset(registers, cluster)
  registerReported(registers, cluster)
  registerFiles(registers, cluster)
  registerWork(registers, cluster)
}

function registerState(registers: Registry[], cluster: Cluster): void {
  new Gauge({
    name: 'rondo_node_state',
    help: '1 for the current state of the node, as this coordinator (with several workers: any of them) sees it.',
    labelNames: ['node', 'state'] as const,
    aggregator: 'max',
    registers,
    collect() {
      for (const { id, health } of cluster.members) {
        for (const state of NODE_STATES) this.set({ node: id, state }, health.state === state ? 1 : 0)
      }
    },
  })
}

function registerCompleteness(registers: Registry[], cluster: Cluster): void {
  new Gauge({
    name: 'rondo_node_clean',
    help: '1 if the node holds all acknowledged writes.',
    labelNames: ['node'] as const,
    aggregator: 'min',
    registers,
    collect() {
      for (const { id, completeness } of cluster.members) {
        this.set({ node: id }, completeness === 'clean' ? 1 : 0)
      }
    },
  })
}

function registerSyncedAge(registers: Registry[], cluster: Cluster): void {
  new Gauge({
    name: 'rondo_node_synced_age_seconds',
    help: 'Seconds since the node was last compared with enough others; above GRACE_SECONDS it is stale.',
    labelNames: ['node'] as const,
    aggregator: 'max',
    registers,
    collect() {
      for (const { id, report } of cluster.members) {
        if (report?.syncedAt) this.set({ node: id }, (cluster.time.nowMs() - report.syncedAt.atMs) / 1000)
      }
    },
  })
}

function registerClockOffset(registers: Registry[], cluster: Cluster): void {
  new Gauge({
    name: 'rondo_node_clock_offset_seconds',
    help: 'Offset of the clock of the node from cluster time, the median of all.',
    labelNames: ['node'] as const,
    aggregator: 'average',
    registers,
    collect() {
      for (const { id } of cluster.members) {
        const distance = cluster.time.distance(id)
        if (distance) this.set({ node: id }, distance.offMs / 1000)
      }
    },
  })
}

/** A number for each node; null = unknown. */
function registerGauge(
  registers: Registry[],
  cluster: Cluster,
  name: string,
  help: string,
  value: (member: Member) => number | null,
): void {
  new Gauge({
    name: `rondo_node_${name}`,
    help,
    labelNames: ['node'] as const,
    aggregator: 'max',
    registers,
    collect() {
      for (const member of cluster.members) {
        const number = value(member)
        if (number !== null) this.set({ node: member.id }, number)
      }
    },
  })
}

/** What the node itself reports with each probe. */
function registerReported(registers: Registry[], cluster: Cluster): void {
  const gauge = (name: string, help: string, value: (report: NodeReport) => number) =>
    registerGauge(registers, cluster, name, help, ({ report }) => report && value(report))
  gauge('evicted_keys', 'Keys that the node has evicted since it started.', (report) => report.evictedKeys)
  gauge('keys', 'Keys on the node, with tombstones and internal ones.', (report) => report.keys)
  gauge('memory_used_bytes', 'Memory that the node uses.', (report) => report.memoryUsedBytes)
  gauge('memory_limit_bytes', 'Memory limit of the node; 0 = none.', (report) => report.memoryLimitBytes)
}

/** What a memory node has on its disk; without DATA_DIR there is none of these. */
function registerFiles(registers: Registry[], cluster: Cluster): void {
  const gauge = (name: string, help: string, value: (files: NodeFiles) => number | null) =>
    registerGauge(registers, cluster, name, help, ({ report }) =>
      report?.files ? value(report.files) : null,
    )
  gauge('log_bytes', 'Size of the log of the memory node since its last snapshot.', (files) => files.logBytes)
  gauge('snapshot_bytes', 'Size of the last snapshot of the memory node.', (files) => files.snapshotBytes)
  gauge('snapshots', 'Snapshots of the memory node since it started.', (files) => files.snapshots)
  gauge(
    'snapshot_timestamp_seconds',
    'When the last snapshot since the start was finished, in seconds since 1970.',
    ({ snapshotAtMs }) => snapshotAtMs && snapshotAtMs / 1000,
  )
  gauge(
    'fsync_seconds',
    'How long the disk took for the last fsync of the log.',
    ({ lastSyncMs }) => lastSyncMs && lastSyncMs / 1000,
  )
  gauge('disk_failures', 'Times that the log could not be written.', (files) => files.failures)
}

/** What is left to do for the node, and what this coordinator does. */
function registerWork(registers: Registry[], cluster: Cluster): void {
  const gauge = (name: string, help: string, value: (member: Member) => number) =>
    registerGauge(registers, cluster, name, help, value)
  const hintsFor = ({ id }: Member) =>
    cluster.members.reduce((sum, { report }) => sum + (report?.hints.get(id) ?? 0), 0)
  gauge('hints_waiting', 'Missed writes noted on other nodes that wait for the node.', hintsFor)
  gauge(
    'fill_checked_keys',
    'Keys checked so far by the rebuild of the node; 0 = no rebuild by this coordinator.',
    ({ filling }) => filling?.checked ?? 0,
  )
  gauge(
    'fill_sent_records',
    'Records sent so far by the rebuild of the node; 0 = no rebuild by this coordinator.',
    ({ filling }) => filling?.sent ?? 0,
  )
}
