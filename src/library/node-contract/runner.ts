/** Who runs the contract: a test runner that the caller has, or, without one, a loop. */
import { describeNodeContract } from './contract.ts'
import type { NodeFactory } from './under-test.ts'

type Work = () => unknown

export interface ContractResult {
  /** What is promised. */
  readonly name: string
  /** Null = it is kept. */
  readonly error: unknown
}

/** A describe() under which cases are collected. */
interface Group {
  readonly name: string
  readonly before: Work[]
  readonly after: Work[]
}

interface Case {
  readonly name: string
  readonly run: Work
  readonly groups: readonly Group[]
}

/** Runs the contract without a test runner, one case after the other. Resolves also if some are not kept. */
export async function runNodeContract(name: string, factory: NodeFactory): Promise<ContractResult[]> {
  const results: ContractResult[] = []
  for (const { name: said, run, groups } of collect(name, factory)) {
    let error: unknown = null
    try {
      for (const { before } of groups) for (const work of before) await work()
      await run()
    } catch (thrown) {
      error = thrown ?? new Error('it failed without an error')
    }
    for (const { after } of groups.toReversed()) {
      for (const work of after) {
        try {
          await work()
        } catch (thrown) {
          error ??= thrown
        }
      }
    }
    results.push({ name: said, error })
  }
  return results
}

function collect(name: string, factory: NodeFactory): Case[] {
  const cases: Case[] = []
  let groups: readonly Group[] = []
  const within = () => groups.at(-1)!
  describeNodeContract(name, factory, {
    describe: (said, define) => {
      const outer = groups
      groups = [...outer, { name: said, before: [], after: [] }]
      define()
      groups = outer
    },
    it: (said, run) => {
      const names = [...groups.map((group) => group.name), said]
      cases.push({ name: names.join(', '), run, groups })
    },
    beforeEach: (run) => void within().before.push(run),
    afterEach: (run) => void within().after.push(run),
  })
  return cases
}
