/**
 * Notes: what coordinators leave in the nodes for each other, so that every one can show it, and another one can go on.
 *
 * A note is a record under an internal key; of several copies the newest counts. Correctness does not rely on notes: one
 * that is lost costs work, or a figure.
 */
import type { z } from 'zod'
import type { Cluster } from '../cluster/cluster.ts'
import type { Member } from '../cluster/member.ts'
import { compareVersions } from '../core/clock.ts'
import { KIND_VALUE, newRecord, type StoredRecord } from '../core/codec.ts'
import { noteKey } from '../core/keys.ts'
import { FAR_END_MS } from '../core/lifetime.ts'
import { fetchRecord } from './round/copy.ts'

export class Note<T> {
  private readonly key: Buffer
  private readonly schema: z.ZodType<T>

  constructor(name: string, schema: z.ZodType<T>) {
    this.key = noteKey(name)
    this.schema = schema
  }

  /** Resolves when every one of the members has it that takes values. */
  async write(cluster: Cluster, value: T, members: readonly Member[] = cluster.members): Promise<void> {
    const record = newRecord(KIND_VALUE, cluster.versions, 0, Buffer.from(JSON.stringify(value)))
    const takers = members.filter(({ takesValues }) => takesValues)
    const write = ({ node }: Member) =>
      new Promise<void>((resolve) => {
        const done = () => resolve()
        node.store(this.key, record, FAR_END_MS, { onApplied: done, onStale: done, onFailure: done })
      })
    await Promise.all(takers.map(write))
  }

  /** Null if none of the members has one that can be understood. */
  async read(cluster: Cluster, members: readonly Member[] = cluster.members): Promise<T | null> {
    const ready = members.filter(({ node }) => node.ready)
    // A member that fails is one of several, and its health tells of it.
    const held = await Promise.all(
      ready.map(({ node }) => fetchRecord(node, this.key, null).catch(() => null)),
    )
    let newest: StoredRecord | null = null
    for (const record of held) {
      if (record?.versioned && (!newest || compareVersions(record.version, newest.version) > 0))
        newest = record
    }
    if (!newest) return null
    cluster.versions.observe(Buffer.from(newest.version))
    return this.parse(newest.value)
  }

  /** Null for the format of another release. */
  private parse(bytes: Buffer): T | null {
    try {
      return this.schema.safeParse(JSON.parse(bytes.toString('utf8'))).data ?? null
    } catch {
      return null // no JSON: not written by Rondo
    }
  }
}
