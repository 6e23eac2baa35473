/** Gauges of this coordinator's view of its nodes, computed when they are read. */
import { Gauge, type Registry } from 'prom-client'
import type { Cluster } from '../cluster/cluster.ts'

const NODE_STATES = ['up', 'suspect', 'down'] as const

export function registerNodeMetrics(registry: Registry, cluster: Cluster): void {
  const registers = [registry]
  registerState(registers, cluster)
  registerCompleteness(registers, cluster)
  registerSyncedAge(registers, cluster)
  registerClockOffset(registers, cluster)
  registerEvictions(registers, cluster)
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

function registerEvictions(registers: Registry[], cluster: Cluster): void {
  new Gauge({
    name: 'rondo_node_evicted_keys',
    help: 'Keys that the node has evicted since it started.',
    labelNames: ['node'] as const,
    aggregator: 'max',
    registers,
    collect() {
      for (const { id, report } of cluster.members) {
        if (report) this.set({ node: id }, report.evictedKeys)
      }
    },
  })
}
