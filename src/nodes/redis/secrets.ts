/**
 * Removes secrets from a node's error replies: Redis quotes the arguments of an unknown command, and AUTH may be
 * unknown. The user and password of a node never appear in log lines, errors or /status.
 */
export interface Secrets {
  readonly username?: string
  readonly password?: string
}

const HIDDEN = '(hidden)'

/** A node's text without its user and password. */
export function withoutSecrets(text: string, { username, password }: Secrets): string {
  let shown = text
  for (const secret of [password, username]) if (secret) shown = shown.replaceAll(secret, HIDDEN)
  return shown
}

/** Errors that Redis sends to a connection that it refuses. */
const CONNECTION_REFUSED =
  /^(ERR max number of clients (\+ cluster connections )?reached|DENIED Redis is running in protected mode)/

/** Message for an error in reply to AUTH. Shows only the first word of the node's text, the error code. */
export function passwordRefused(said: string, secrets: Secrets): string {
  const notTaken = CONNECTION_REFUSED.exec(said)
  if (notTaken) return `the node refused the connection: ${notTaken[0]}`
  const kind = /^[A-Z]{2,20}(?= |$)/.exec(said)?.[0] ?? ''
  return `the node refused the user or password (${kind === '' ? 'without saying why' : withoutSecrets(kind, secrets)})`
}
