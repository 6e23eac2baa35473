/** Errors as parts of a sentence, for clients and for the log: without the names of classes, and with a node's own words in quotes. */

/** Of faults of the program: what kind they are says more than their message. */
const FAULTS = new Set(['TypeError', 'RangeError', 'ReferenceError', 'SyntaxError', 'AssertionError'])
/** The first words of Redis's errors; inside a script with a dash before them. */
const ERROR_REPLY =
  /^-?(ERR|ASK|BUSY|BUSYGROUP|CLUSTERDOWN|CROSSSLOT|DENIED|EXECABORT|INPROG|LOADING|MASTERDOWN|MISCONF|MOVED|NOAUTH|NOPERM|NOREPLICAS|NOSCRIPT|OOM|READONLY|TRYAGAIN|WRONGPASS|WRONGTYPE)\b/

/** Without a full stop at the end. */
export function sentenceOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const message = inWords(error.message)
  return FAULTS.has(error.name) ? `${error.name}: ${message}` : message
}

/** The message of a failed call: what a node has said itself is quoted. */
export function inWords(message: string): string {
  const text = message.replace(/\.$/, '')
  return ERROR_REPLY.test(text) ? `the node answered "${text}"` : text
}
