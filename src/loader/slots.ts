/** How many may run at once; the others wait, in the order in which they came. */
export class Slots {
  taken = 0
  private readonly most: number
  private readonly waiting: (() => void)[] = []

  constructor(most: number) {
    this.most = most
  }

  get areTaken(): boolean {
    return this.taken >= this.most
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    // One that has waited takes over the slot of another.
    if (this.areTaken) await new Promise<void>((resolve) => this.waiting.push(resolve))
    else this.taken++
    try {
      return await work()
    } finally {
      const next = this.waiting.shift()
      if (next) next()
      else this.taken--
    }
  }
}
