/** Memory nodes with a disk, for tests. */
import type { Clock, Timers } from '../../src/core/clock.ts'
import type { RondoEvent } from '../../src/core/events.ts'
import type { Disk } from '../../src/nodes/memory/disk/disk.ts'
import { Journal, type JournalOptions } from '../../src/nodes/memory/disk/journal.ts'
import { MemoryNode, type MemoryNodeOptions } from '../../src/nodes/memory/memory-node.ts'
import { realClock, realTimers } from './real-time.ts'

/** Time passes only when the test says so: timers do not run by themselves. */
export class ManualTimers implements Timers {
  private waiting: { run: () => void }[] = []
  readonly endOfTurn = (run: () => void): void => realTimers.endOfTurn(run)

  setTimeout(run: () => void): object {
    const handle = { run }
    this.waiting.push(handle)
    return handle
  }

  clearTimeout(handle: object): void {
    this.waiting = this.waiting.filter((one) => one !== handle)
  }

  /** Runs all timers that wait. */
  fire(): void {
    const due = this.waiting
    this.waiting = []
    for (const { run } of due) run()
  }
}

export interface DiskNode {
  readonly node: MemoryNode
  readonly journal: Journal
  readonly events: RondoEvent[]
  readonly timers: ManualTimers
}

let runs = 0

export async function openDiskNode(
  disk: Disk,
  journalOptions: Partial<JournalOptions> = {},
  nodeOptions: Partial<MemoryNodeOptions> = {},
  clock: Clock = realClock,
): Promise<DiskNode> {
  const events: RondoEvent[] = []
  const timers = new ManualTimers()
  const emit = (event: RondoEvent) => void events.push(event)
  const journal = new Journal({
    ...{ node: 'm', disk, fsync: 'always', snapshotIntervalMs: 0, clock, timers, emit },
    ...journalOptions,
  })
  const node = new MemoryNode({
    ...{ id: 'm', maxBytes: 1 << 26, graceMs: 86_400_000, journal, runId: `run-${++runs}` },
    ...{ clock, timers: realTimers },
    ...nodeOptions,
  })
  await node.readFiles()
  return { node, journal, events, timers }
}

/** Opens its data path under this marker, which it gets if it has none. */
export async function openData(node: MemoryNode, marker = Buffer.from('{"n":0}')): Promise<void> {
  const report = await node.probe()
  const found = report.marker ?? marker
  if (!report.marker) await node.swapMarker(null, marker)
  const fence = { marker: found, runId: report.runId, clean: true, epoch: 1 }
  node.listener ??= {
    onBroken: () => undefined,
    onOtherMarker: (_node, other) => ({ ...fence, marker: other ?? found }),
    onUnwritable: () => undefined,
  }
  await node.open(fence)
}
