/** A request of a client that may give up before its connection ends. */
export interface ClientCall {
  /** It was cancelled, or its time is over: it is not begun any more. */
  readonly gone: boolean
  /** When the client gives up, monotonic; Infinity = it does not say. */
  readonly dueAtMs: number
}

/** A client's connection. Connections whose operations wait for admission take turns (admission.ts). */
export interface Requester {
  /** How many of its operations wait. Maintained by Admission, like begunAtMs. */
  waiting: number
  /** When its last operation started or, before that, when the first began to wait; 0 = none waits. */
  begunAtMs: number
  /** The connection is closed: its waiting operations are dropped. */
  readonly gone: boolean
  /** Called when none of its operations waits any more. */
  noneWaits(): void
}
