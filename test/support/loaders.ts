/** Coordinators that share nodes and an origin, on virtual time: each with its own loader. */
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import type { RondoError } from '../../src/core/errors.ts'
import type { RondoEvent } from '../../src/core/events.ts'
import type { LoadFunction } from '../../src/loader/api.ts'
import { Fills } from '../../src/loader/fills.ts'
import { Loader, type LoaderOptions } from '../../src/loader/loader.ts'
import { CoordinatorUnderTest } from './coordinator-under-test.ts'
import { seeded } from './random.ts'

export type Policy = Partial<
  Pick<
    LoaderOptions,
    'ttlMs' | 'negativeTtlMs' | 'timeoutMs' | 'softTimeoutMs' | 'maxConcurrent' | 'writeConsistency'
  >
> & { readonly staleMs?: number; readonly marks?: boolean }

export interface Call {
  readonly key: string
  readonly signal: AbortSignal
  answer(loaded: Awaited<ReturnType<LoadFunction>>): void
  fail(error: Error): void
}

/** An origin whose calls the test answers. */
export class OriginUnderTest {
  readonly calls: Call[] = []

  readonly load: LoadFunction = (key, { signal }) =>
    new Promise((answer, fail) => this.calls.push({ key: key.toString(), signal, answer, fail }))
}

export class LoaderUnderTest {
  readonly under: CoordinatorUnderTest
  readonly fills: Fills
  readonly loader: Loader
  readonly events: RondoEvent[] = []

  private constructor(under: CoordinatorUnderTest, origin: OriginUnderTest, policy: Policy, seed: number) {
    this.under = under
    const random = seeded(seed)
    const own = { store: under.coordinator, timers: under.time, random: () => random.next() }
    this.fills = new Fills({ ...own, staleMs: policy.staleMs ?? 0, marks: policy.marks ?? false })
    this.loader = new Loader({
      ...own,
      fills: this.fills,
      origin: { load: origin.load, hasDatabases: false },
      ...{ ttlMs: 60_000, negativeTtlMs: 10_000, timeoutMs: 5000, softTimeoutMs: 0 },
      ...{ maxConcurrent: 32, writeConsistency: 'one' as const },
      ...policy,
      monotonicMs: () => under.time.monotonicMs(),
      emit: (event) => void this.events.push(event),
    })
  }

  /** So many, over the same nodes. */
  static async over(origin: OriginUnderTest, count = 1, policy: Policy = {}): Promise<LoaderUnderTest[]> {
    const first = await CoordinatorUnderTest.started()
    const all = [new LoaderUnderTest(first, origin, policy, 1)]
    for (let i = 2; i <= count; i++) {
      const beside = await CoordinatorUnderTest.started({ beside: first, coordinator: i })
      all.push(new LoaderUnderTest(beside, origin, policy, i))
    }
    return all
  }

  /** As a server answers a GET: a value, `(absent)`, or the code of an error. */
  get(key: string, level: ConsistencyLevel = 'one'): Promise<string> {
    const { coordinator } = this.under
    const bytes = Buffer.from(key)
    return new Promise((resolve) => {
      const failed = (error: RondoError) => resolve(error.code)
      coordinator.read(
        bytes,
        {
          read: (record) => {
            if (coordinator.isLive(record)) resolve(record.value.toString())
            else
              this.loader.load(bytes, record, level, {
                loaded: (loaded) => resolve(loaded?.value.toString() ?? '(absent)'),
                failed,
              })
          },
          failed,
        },
        level,
      )
    })
  }
}
