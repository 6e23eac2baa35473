/**
 * The part of chai's `expect` that the contract uses, over node:assert: who tests a driver of their own needs no assertion
 * library for it.
 */
import { AssertionError } from 'node:assert'
import { inspect, isDeepStrictEqual } from 'node:util'

export function expect(actual: unknown, message?: string): Expectation {
  return new Expectation(actual, message)
}

type Fields = Readonly<Record<string, unknown>>

class Expectation {
  private readonly actual: unknown
  private readonly message: string | undefined
  private isDeep = false
  private isNegated = false

  constructor(actual: unknown, message: string | undefined) {
    this.actual = actual
    this.message = message
  }

  get to(): this {
    return this
  }

  get be(): this {
    return this
  }

  get at(): this {
    return this
  }

  get have(): this {
    return this
  }

  get deep(): this {
    this.isDeep = true
    return this
  }

  get not(): this {
    this.isNegated = true
    return this
  }

  equal(expected: unknown): void {
    this.check(this.isSame(this.actual, expected), 'equal', expected)
  }

  within(least: number, most: number): void {
    this.check(this.number >= least && this.number <= most, 'be within', [least, most])
  }

  least(bound: number): void {
    this.check(this.number >= bound, 'be at least', bound)
  }

  most(bound: number): void {
    this.check(this.number <= bound, 'be at most', bound)
  }

  above(bound: number): void {
    this.check(this.number > bound, 'be above', bound)
  }

  match(pattern: RegExp): void {
    this.check(typeof this.actual === 'string' && pattern.test(this.actual), 'match', pattern)
  }

  length(expected: number): void {
    this.check((this.actual as { length?: number }).length === expected, 'have the length', expected)
  }

  property(name: string, expected: unknown): void {
    this.check(this.isSame((this.actual as Fields)[name], expected), `have as ${name}`, expected)
  }

  /** @param text part of the error's message */
  throw(text: string): void {
    let thrown: unknown
    try {
      ;(this.actual as () => unknown)()
    } catch (error) {
      thrown = error
    }
    this.check(thrown instanceof Error && thrown.message.includes(text), 'throw', text)
  }

  /** The same elements, in any order. */
  members(expected: readonly unknown[]): void {
    const actual = this.actual as readonly unknown[]
    this.check(actual.length === expected.length && this.holdsAll(expected), 'have the members', expected)
  }

  /** Of an object some fields, of a list an element, of a text a part. */
  get include(): Include {
    const include = (expected: unknown) => this.check(this.includes(expected), 'include', expected)
    const members = (expected: readonly unknown[]) =>
      this.check(this.holdsAll(expected), 'include the members', expected)
    return Object.assign(include, { members })
  }

  private includes(expected: unknown): boolean {
    const { actual } = this
    if (typeof actual === 'string') return actual.includes(String(expected))
    if (Array.isArray(actual)) return this.holdsAll([expected])
    return Object.entries(expected as Fields).every(([name, value]) =>
      this.isSame((actual as Fields)[name], value),
    )
  }

  private holdsAll(expected: readonly unknown[]): boolean {
    const actual = this.actual as readonly unknown[]
    return expected.every((one) => actual.some((other) => this.isSame(other, one)))
  }

  private isSame(one: unknown, other: unknown): boolean {
    return this.isDeep ? isDeepStrictEqual(one, other) : Object.is(one, other)
  }

  private get number(): number {
    const { actual } = this
    this.requires(typeof actual === 'number', 'be a number', undefined)
    return actual as number
  }

  private check(holds: boolean, what: string, expected: unknown): void {
    this.requires(holds !== this.isNegated, `${this.isNegated ? 'not ' : ''}${what}`, expected)
  }

  private requires(holds: boolean, what: string, expected: unknown): void {
    if (holds) return
    const { actual } = this
    const sentence = `expected ${inspect(actual)} to ${what}${expected === undefined ? '' : ` ${inspect(expected)}`}`
    throw new AssertionError({
      message: this.message === undefined ? sentence : `${this.message}: ${sentence}`,
      actual,
      expected,
      operator: what,
      stackStartFn: expect,
    })
  }
}

export type { Expectation }

interface Include {
  (expected: unknown): void
  members(expected: readonly unknown[]): void
}
