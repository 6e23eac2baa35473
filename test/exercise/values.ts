/**
 * What a key with a single writer may hold, and what an operation on it may tell. More than one thing is possible after an
 * outcome that nobody knows, and while a value may just have expired.
 */
export interface Held {
  readonly text: string | null
  /** It may have expired from the first time on, and must have by the second; Infinity = never. */
  readonly endsFromMs: number
  readonly endsByMs: number
}

export interface Effect {
  readonly reply: string | null
  readonly after: string | null
  /** How long that is kept; null = without an end, 'as before' = as long as what was there. */
  readonly life: number | null | 'as before'
}

/** What an operation does to what it finds. */
export type Apply = (text: string | null) => Effect

export const NOTHING: readonly Held[] = [{ text: null, endsFromMs: Infinity, endsByMs: Infinity }]
/** Two clocks may disagree by so much, and timers are late. */
const CLOCK_ERROR_MS = 250
const MOST_POSSIBLE = 64

export function holds(text: string | null): readonly Held[] {
  return [{ text, endsFromMs: Infinity, endsByMs: Infinity }]
}

/** What is possible after this reply; nothing = the reply cannot be explained. */
export function afterReply(
  possible: readonly Held[],
  apply: Apply,
  reply: string | null,
  startMs: number,
  endMs: number,
): readonly Held[] {
  return distinct(
    possible
      .flatMap((held) => seenBetween(held, startMs, endMs))
      .map((held) => ({ held, effect: apply(held.text) }))
      .filter(({ effect }) => effect.reply === reply)
      .map(({ held, effect }) => next(held, effect, startMs, endMs)),
  )
}

/** What is possible if nobody knows whether it was done, or when: at `latestMs` at the latest. */
export function afterUnknown(
  possible: readonly Held[],
  apply: Apply,
  startMs: number,
  latestMs: number,
): readonly Held[] {
  const done = possible
    .flatMap((held) => seenBetween(held, startMs, latestMs))
    .map((held) => next(held, apply(held.text), startMs, latestMs))
  return distinct([...possible, ...done])
}

function seenBetween(held: Held, startMs: number, endMs: number): readonly Held[] {
  if (held.text === null || endMs < held.endsFromMs - CLOCK_ERROR_MS) return [held]
  return startMs > held.endsByMs + CLOCK_ERROR_MS ? NOTHING : [held, ...NOTHING]
}

function next(held: Held, { after, life }: Effect, startMs: number, endMs: number): Held {
  if (after === null) return NOTHING[0]!
  if (life === 'as before') return { ...held, text: after }
  const lifeMs = life ?? Infinity
  return { text: after, endsFromMs: startMs + lifeMs, endsByMs: endMs + lifeMs }
}

function distinct(all: readonly Held[]): readonly Held[] {
  const byText = new Map<string, Held>()
  for (const held of all) {
    const name = held.text === null ? '-' : `+${held.text}`
    const same = byText.get(name)
    byText.set(
      name,
      same
        ? {
            text: held.text,
            endsFromMs: Math.min(held.endsFromMs, same.endsFromMs),
            endsByMs: Math.max(held.endsByMs, same.endsByMs),
          }
        : held,
    )
  }
  if (byText.size > MOST_POSSIBLE) throw new Error(`more than ${MOST_POSSIBLE} values are possible`)
  return [...byText.values()]
}
