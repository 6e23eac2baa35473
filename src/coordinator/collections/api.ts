/** What the commands tell of large collections, whose parts are records of their own (commands/collections/large/). */
export interface Collections {
  /**
   * What is stored under this key does not name these parts any more: they are removed when nobody can be reading them.
   *
   * @param root the collection's name on the nodes @param parts theirs
   */
  leave(root: Buffer, parts: readonly LeftPart[]): void
  /** This key held a large collection when it was changed last: the next change begins as one that reads parts. */
  isLarge(root: Buffer): boolean
  noteLarge(root: Buffer, isLarge: boolean): void
  /** When a command that begins now has to be answered, however many parts it reads and stores; monotonic. */
  dueAtMs(): number
  /** A whole number from 0 up to, without, this one: for what has to be different at each attempt, at each coordinator. */
  draw(values: number): number
  /** Parts of a collection were nowhere, and it was deleted. */
  lost(): void
}

export interface LeftPart {
  readonly key: Buffer
  readonly bytes: number
}
