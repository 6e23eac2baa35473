/**
 * The order in which keys were added, so that listings work while keys come and go: each key has an increasing number.
 * A page costs one binary search, and so does a removal; holes are compacted when they outnumber the keys.
 */
const HOLES_AT_LEAST = 64

export class KeyOrder {
  // Parallel arrays, ascending by number; undefined = removed.
  private numbers: number[] = []
  private names: (string | undefined)[] = []
  private holes = 0
  private lastNumber = 0
  private roamingAt = 0

  /** @returns the key's number, 1 or more */
  append(name: string): number {
    this.names.push(name)
    this.numbers.push(++this.lastNumber)
    return this.lastNumber
  }

  remove(number: number): void {
    this.names[this.placeOf(number)] = undefined
    if (++this.holes < HOLES_AT_LEAST || this.holes * 2 < this.names.length) return
    this.numbers = this.numbers.filter((_, i) => this.names[i] !== undefined)
    this.names = this.names.filter((name) => name !== undefined)
    this.holes = 0
  }

  /** Up to `count` keys with smaller numbers, newest first. @returns next: where to continue, 0 = the end */
  below(number: number, count: number): { names: string[]; next: number } {
    const names: string[] = []
    let place = this.placeOf(number)
    while (place > 0 && names.length < count) {
      const name = this.names[--place]
      if (name !== undefined) names.push(name)
    }
    return { names, next: place > 0 ? this.numbers[place]! : 0 }
  }

  /** Up to `count` keys with larger numbers, oldest first. @returns next: where to continue, 0 = the end */
  above(number: number, count: number): { names: string[]; next: number } {
    const names: string[] = []
    let place = this.placeOf(number + 1)
    while (place < this.names.length && names.length < count) {
      const name = this.names[place++]
      if (name !== undefined) names.push(name)
    }
    return { names, next: place < this.names.length ? this.numbers[place - 1]! : 0 }
  }

  /** The largest number so far. */
  get last(): number {
    return this.lastNumber
  }

  /** The next key, cyclic; undefined for a hole. */
  roam(): string | undefined {
    if (this.roamingAt >= this.names.length) this.roamingAt = 0
    return this.names[this.roamingAt++]
  }

  /** The first index whose number is not smaller. */
  private placeOf(number: number): number {
    let from = 0
    let to = this.numbers.length
    while (from < to) {
      const middle = (from + to) >>> 1
      if (this.numbers[middle]! < number) from = middle + 1
      else to = middle
    }
    return from
  }
}
