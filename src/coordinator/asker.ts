/** Whoever asks for operations, a client's connection: those whose operations wait to begin take turns (admission.ts). */
export interface Asker {
  /** How many of its operations wait. Kept by the admission, as the next. */
  waiting: number
  /** When one of them began last, or, before that, when the first began to wait; 0 = none waits. */
  begunAtMs: number
  /** Nobody is there any more: what waits is dropped. */
  readonly gone: boolean
  /** None of them waits any longer. */
  noneWaits(): void
}
