/** What an error of a socket means for a node, as a sentence for the log and /status, with the system's code behind it. */
const SENTENCES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing accepts connections at its address',
  ECONNRESET: 'the connection was reset',
  EPIPE: 'the connection was lost',
  ETIMEDOUT: 'the connection timed out',
  EHOSTUNREACH: 'its address cannot be reached',
  ENETUNREACH: 'its network cannot be reached',
  ENOTFOUND: 'its host name is not known',
  EAI_AGAIN: 'its host name cannot be resolved now',
  EMFILE: 'this process has no file descriptor left',
}

const LOST = /enableOfflineQueue|Connection is closed|aborted due to connection close|Stream isn't writeable/

/** What ioredis says of a call that failed, without its own terms; null for other errors. */
export function clientSentence({ message }: Error, timeoutMs: number): string | null {
  if (message === 'Command timed out') return `it did not answer within ${timeoutMs} ms`
  return LOST.test(message) ? 'the connection was lost' : null
}

/** Null for other errors: their own message says more. */
export function socketSentence({ code }: NodeJS.ErrnoException): string | null {
  const sentence = code === undefined ? undefined : SENTENCES[code]
  return sentence === undefined ? null : `${sentence} (${code})`
}
