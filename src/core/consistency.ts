/** Consistency levels. */
export const CONSISTENCY_LEVELS = ['one', 'quorum', 'all'] as const
export type ConsistencyLevel = (typeof CONSISTENCY_LEVELS)[number]

export function isConsistencyLevel(text: string): text is ConsistencyLevel {
  return (CONSISTENCY_LEVELS as readonly string[]).includes(text)
}

export function strongerOf(one: ConsistencyLevel, other: ConsistencyLevel): ConsistencyLevel {
  return CONSISTENCY_LEVELS.indexOf(one) > CONSISTENCY_LEVELS.indexOf(other) ? one : other
}

export function weakerOf(one: ConsistencyLevel, other: ConsistencyLevel): ConsistencyLevel {
  return strongerOf(one, other) === one ? other : one
}

/**
 * Home replicas that must answer. R + W > N: every quorum read meets every quorum write, as long as fallback replicas do
 * not count.
 */
export function required(level: ConsistencyLevel, homeReplicas: number): number {
  switch (level) {
    case 'one':
      return 1
    case 'quorum':
      return Math.floor(homeReplicas / 2) + 1
    case 'all':
      return homeReplicas
  }
}
