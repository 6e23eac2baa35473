/** A step that leaves some of its keys out: to the step they are absent, and nothing is read or stored under them. */
import type { Step, StepOf, Stepped } from '../step.ts'
import type { Sliced } from '../../core/work.ts'

/** @param places indexes of the keys that it keeps */
export function onlyAt(places: readonly number[], step: Step): Step {
  if (step.needs === 'value') return withPlaces(places, step)
  if (step.needs === 'head') return withPlaces(places, step)
  return withPlaces(places, step)
}

function withPlaces<Need, Shown>(places: readonly number[], step: StepOf<Need, Shown>): StepOf<Need, Shown> {
  const { keys, databases, slow, follow, writes } = step
  const lookedUp = step.lookedUp ?? (writes ? [] : keys.map((_, i) => i))
  const all = (held: readonly (Shown | null)[]) => {
    const shown = keys.map((): Shown | null => null)
    places.forEach((place, i) => (shown[place] = held[i]!))
    return shown
  }
  const kept = ({ reply, next }: Stepped): Stepped =>
    next ? { reply, next: places.map((place) => next[place]) } : { reply }
  function* slices(held: readonly (Shown | null)[], nowMs: number): Sliced<Stepped> {
    return kept(yield* slow!.slices(all(held), nowMs))
  }
  return {
    ...step,
    keys: places.map((place) => keys[place]!),
    lookedUp: lookedUp.map((place) => places.indexOf(place)),
    ...(databases && { databases: places.map((place) => databases[place]!) }),
    apply: (held, nowMs) => kept(step.apply(all(held), nowMs)),
    ...(follow && { follow: (held) => follow(all(held)) }),
    ...(slow && { slow: { cost: (held) => slow.cost(all(held)), slices } }),
  }
}
