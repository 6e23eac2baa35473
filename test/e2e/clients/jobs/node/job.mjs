// What the Node jobs share: the port of Rondo and its password, a check, and how they show what a library cannot do there.
import { deepStrictEqual } from 'node:assert'

export const port = Number(process.argv[2])
export const password = process.argv[3]
export const same = (expected, found) => deepStrictEqual(found, expected)
export const between = (least, most, found) => same(true, least <= found && found <= most)

/** Fails unless `attempt` needs a command that Rondo does not have; prints which one. */
export async function lacks(what, attempt) {
  const error = await Promise.resolve()
    .then(attempt)
    .then(
      () => new Error(`${what} works`),
      (reason) => reason,
    )
  // Some libraries wrap the error of the client; ioredis has those of a transaction beside its own.
  const errors = [error, error.cause, ...(error.previousErrors ?? [])]
  const found = /unknown command '(\w+)'/.exec(errors.join('\n'))
  if (!found) throw error
  console.log(`lacks ${what}: ${found[1].toUpperCase()}`)
}

export function end() {
  console.log('ok')
  process.exit(0)
}
