/** SCANs one after the other while members change: each tells every key that was there from its beginning to its end. */
import type { ExerciseCluster } from './cluster.ts'

const COUNT = 1000

export class Scanner {
  scans = 0
  failed = 0
  /** Keys that stayed and were left out. */
  readonly leftOut: string[] = []
  private isStopped = false
  private readonly running: Promise<void>

  constructor(cluster: ExerciseCluster, staying: ReadonlySet<string>) {
    this.running = this.run(cluster, staying)
  }

  /** Ends after the scan that runs. */
  async stop(): Promise<void> {
    this.isStopped = true
    await this.running
  }

  private async run(cluster: ExerciseCluster, staying: ReadonlySet<string>): Promise<void> {
    for (let i = 0; !this.isStopped; i++) {
      const told = await this.scan(cluster, i)
      if (!told) continue
      this.scans++
      for (const key of staying) if (!told.has(key)) this.leftOut.push(key)
    }
  }

  /** Null: its coordinator was killed, or it failed. */
  private async scan(cluster: ExerciseCluster, i: number): Promise<Set<string> | null> {
    const redis = cluster.clientsOf(i)?.scanning
    const told = new Set<string>()
    let cursor = '0'
    do {
      try {
        const [next, keys] = await redis!.scan(cursor, 'COUNT', COUNT)
        for (const key of keys) told.add(key)
        cursor = next
      } catch {
        this.failed++ // counted; the next one begins anew
        await new Promise((resolve) => setTimeout(resolve, 50))
        return null
      }
    } while (cursor !== '0')
    return told
  }
}
