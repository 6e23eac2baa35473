/**
 * What a node says may repeat what it was sent: Redis quotes an unknown command's arguments, and AUTH may be unknown. The
 * user and the password of a node stand in no log line, error or status.
 */
export interface Secrets {
  readonly username?: string
  readonly password?: string
}

const HIDDEN = '(hidden)'

/** A node's words without its user and password. */
export function withoutSecrets(text: string, { username, password }: Secrets): string {
  let shown = text
  for (const secret of [password, username]) if (secret) shown = shown.replaceAll(secret, HIDDEN)
  return shown
}

/** What a Redis says to a connection that it does not take, whatever was asked first. */
const CONNECTION_REFUSED =
  /^(ERR max number of clients (\+ cluster connections )?reached|DENIED Redis is running in protected mode)/

/** For an error in reply to AUTH. Of the node's own words only the first is shown: it says what kind of error it is. */
export function passwordRefused(said: string, secrets: Secrets): string {
  const notTaken = CONNECTION_REFUSED.exec(said)
  if (notTaken) return `the node refused the connection: ${notTaken[0]}`
  const kind = /^[A-Z]{2,20}(?= |$)/.exec(said)?.[0] ?? ''
  return `the node refused the user or password (${kind === '' ? 'without saying why' : withoutSecrets(kind, secrets)})`
}
