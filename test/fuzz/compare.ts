/**
 * What the server answered beside what Redis answered to the same bytes: equal, or one of the differences that are meant.
 */
import type { Kind } from './streams.ts'

export interface Answered {
  readonly bytes: Buffer
  /** The connection ended with an error, so that the last replies may have been lost on the way. */
  readonly reset: boolean
}

/** Equal; or why the difference is meant; or what is wrong. */
export type Verdict = { is: 'equal' } | { is: 'meant'; reason: string } | { is: 'wrong'; problem: string }

/** What the two clocks may be apart, and a stream take. */
const TOLERANCE_MS = 30_000
const SHORTEST_END_S = 900
/** The last end that a record holds. */
const LATEST_MS = 2 ** 48 - 1
const LOOSE = 'what does not end in CRLF is no request'

/** The replies of a connection, each as the bytes that it is; `rest` is what is none. */
export function split(bytes: Buffer): { replies: string[]; rest: string } {
  const replies: string[] = []
  let at = 0
  for (let end; (end = replyEnd(bytes, at)) !== null; at = end)
    replies.push(bytes.toString('latin1', at, end))
  return { replies, rest: bytes.toString('latin1', at) }
}

export function compare(kind: Kind, sent: Buffer, ours: Answered, theirs: Answered): Verdict {
  const mine = split(ours.bytes)
  const redis = split(theirs.bytes)
  if (mine.rest !== '' && !ours.reset) return wrong(`what came last is no reply: ${shown(mine.rest)}`)
  const count = Math.min(mine.replies.length, redis.replies.length)
  for (let i = 0; i < count; i++) {
    const [a, b] = [mine.replies[i]!, redis.replies[i]!]
    if (a === b || isSameTime(withPlainTimes(withOneLimit(a)), withPlainTimes(withOneLimit(b)))) continue
    if (kind === 'damaged') {
      const meant = meantDifference(sent, a, b)
      if (meant) return { is: 'meant', reason: meant }
    }
    return wrong(`reply ${i}: ${shown(a)}, Redis: ${shown(b)}`)
  }
  if (mine.replies.length === redis.replies.length) return { is: 'equal' }
  const shorter = mine.replies.length < redis.replies.length ? ours : theirs
  if (shorter.reset) return { is: 'meant', reason: 'the last replies were lost with the connection' }
  if (kind === 'damaged') {
    if (shorter === ours && hasLooseLineEnd(sent)) return { is: 'meant', reason: LOOSE }
    if (shorter === ours && hasLooseBulk(sent) && silences(sent)) {
      return { is: 'meant', reason: 'an error of the protocol, where the client wants no reply' }
    }
    if (/post|host:/i.test(sent.toString('latin1'))) {
      return { is: 'meant', reason: 'a browser is left at once, whatever was under way' }
    }
    const next = mine.replies[count]
    if (next !== undefined && sent.includes(0)) {
      return { is: 'meant', reason: 'a line with a NUL never ends for Redis' }
    }
    const more = meantDifference(sent, next ?? '', redis.replies[count] ?? '')
    if (more) return { is: 'meant', reason: more }
  }
  return wrong(
    `${mine.replies.length} replies, Redis: ${redis.replies.length}; the next would be ` +
      shown(mine.replies[count] ?? redis.replies[count]!),
  )
}

/** APPEND and SETRANGE name our setting, also among the replies of EXEC. */
function withOneLimit(reply: string): string {
  const either =
    /^-ERR (?:string exceeds maximum allowed size \(proto-max-bulk-len\)|The value would have \d+ bytes; .*)$/gm
  return reply.replace(either, '-ERR too long')
}

/** What TIME answers as one number, in milliseconds; also among the replies of EXEC. */
function withPlainTimes(reply: string): string {
  const told = /^\*2\r\n\$10\r\n(\d{10})\r\n\$[1-6]\r\n(\d{1,6})\r$/gm
  return reply.replace(
    told,
    (_, s: string, us: string) => `:${Number(s) * 1000 + Math.floor(Number(us) / 1000)}\r`,
  )
}

function meantDifference(sent: Buffer, ours: string, theirs: string): string | null {
  if (/^-ERR unknown command .* \([^)]+\)\r\n$/s.test(ours))
    return 'a command that Redis has and Rondo has not'
  if (/^-ERR wrong number of arguments for 'z(?:rev)?rank' command/.test(theirs))
    return 'ZRANK … WITHSCORE of Redis 7.2'
  // It compares them as texts of C, with those that by chance are in the same place of its table.
  if (ours.startsWith('-ERR unknown command') && /\0|\\x00/.test(sent.toString('latin1')))
    return 'the name of a command may end with a NUL for Redis'
  if (theirs === '' && ours.startsWith("-ERR Protocol error: expected '$'"))
    return 'Redis waits for the end of a wrong line'
  const tooBig = '-ERR Protocol error: too big '
  if (ours.startsWith(tooBig) || (theirs.startsWith(tooBig) && ours.startsWith('-ERR Protocol error: ')))
    return 'a line that is too long, and came with its end'
  if (theirs.startsWith(`${tooBig}inline`) && sent.includes(0)) {
    return 'a line with a NUL never ends for Redis'
  }
  // The oracle runs with a proto-max-bulk-len of 1 MB, which also bounds that.
  if (theirs.includes('transient memory for LCS exceeds proto-max-bulk-len')) {
    return 'LCS over more than the oracle may compare'
  }
  if (isLatestEnd(ours)) return 'an end beyond what a record can hold'
  if (hasBitsBeyond(ours, theirs)) return 'bits beyond what a value can hold'
  // Also as one of the replies of EXEC.
  if (ours.includes('-ERR The key has ')) return 'a key that is too long'
  if (
    theirs.startsWith('-ERR Protocol error: invalid bulk length') &&
    /\$\d{7}/.test(sent.toString('latin1'))
  ) {
    return 'a value that is too large is read, and refused with a sentence'
  }
  if (
    ours.startsWith('-ERR Protocol error: invalid multibulk length') &&
    /\*\d{6}/.test(sent.toString('latin1'))
  ) {
    return 'a request of more arguments than memory is given for'
  }
  // Redis does not look at the byte behind a CR, or at the two behind a bulk.
  const broken = [ours, theirs].some((reply) => reply.startsWith('-ERR Protocol error:'))
  const strict = ours.startsWith('-ERR Protocol error: expected CRLF')
  if (strict || (broken && hasLooseLineEnd(sent))) return LOOSE
  if (withoutDigits(ours) === withoutDigits(theirs)) return 'doubles have 17 digits in Redis 7.0'
  if (isElsewhere(ours, theirs)) return 'damaged keys do not share a hash tag any more'
  if (isSameButUnprintable(ours, theirs)) {
    return 'control characters and what is not UTF-8 are not repeated in errors'
  }
  return null
}

/** With each double as few digits as give the same number. */
function withoutDigits(reply: string): string {
  return reply
    .replace(/\$\d+\r\n(?=-?\d+\.\d)/g, '$\r\n')
    .replace(/-?\d+\.\d+(?:e[+-]?\d+)?/g, (text) => String(Number(text)))
}

/** Told as an end, or as what is left until then; in milliseconds or seconds; also within an EXEC's reply. */
function isLatestEnd(ours: string): boolean {
  const ends = [LATEST_MS, LATEST_MS - Date.now()].flatMap((ms) => [ms, ms / 1000])
  const numbers = [...ours.matchAll(/^:(\d+)\r$/gm)].map(([, digits]) => Number(digits))
  return numbers.some((told) => ends.some((end) => Math.abs(told - end) <= TOLERANCE_MS))
}

/** To read they are zeros, to set too many; also among the replies of EXEC. */
function hasBitsBeyond(ours: string, theirs: string): boolean {
  const mine = ours.split('\r\n')
  const redis = theirs.split('\r\n')
  return (
    mine.length === redis.length &&
    mine.every((line, i) => {
      const isRefused = redis[i] === '-ERR bit offset is not an integer or out of range'
      return (
        line === redis[i] || (isRefused && (line === ':0' || line.startsWith('-ERR The value would have ')))
      )
    })
  )
}

/** Also as the first difference among the replies of EXEC; what follows it may differ because of it. */
function isElsewhere(ours: string, theirs: string): boolean {
  if (ours.startsWith('-CROSSSLOT')) return true
  const [mine, redis] = [elementsOf(ours), elementsOf(theirs)]
  const first = mine?.findIndex((reply, i) => reply !== redis?.[i] && !isSameTime(reply, redis?.[i] ?? ''))
  return first !== undefined && mine?.[first]?.startsWith('-CROSSSLOT') === true
}

/** The replies in an array; null if it is none. */
function elementsOf(reply: string): string[] | null {
  const head = /^\*\d+\r\n/.exec(reply)
  return head && split(Buffer.from(reply.slice(head[0].length), 'latin1')).replies
}

function hasLooseLineEnd(bytes: Buffer): boolean {
  return bytes.some((byte, i) => (byte === 13 && bytes[i + 1] !== 10) || (byte === 10 && bytes[i - 1] !== 13))
}

/** Two bytes that are not CRLF where a bulk ends. */
function hasLooseBulk(bytes: Buffer): boolean {
  return [...bytes.toString('latin1').matchAll(/\$(\d{1,7})\r\n/g)].some((head) => {
    const end = head.index + head[0].length + Number(head[1])
    return end + 2 <= bytes.length && bytes.toString('latin1', end, end + 2) !== '\r\n'
  })
}

/** With CLIENT REPLY, which silences errors of the protocol as well. */
const silences = (sent: Buffer) => /reply\W.*(?:off|skip)/is.test(sent.toString('latin1'))

function isSameButUnprintable(ours: string, theirs: string): boolean {
  const clean = (text: string) =>
    text.replace(/got '.'/s, "got '?'").replace(/^-.*$/gm, (line) => line.replace(/[^\x20-\x7e]+/g, '?'))
  const [a, b] = [clean(ours), clean(theirs)]
  const upTo = b.indexOf('?')
  return a === b || (b.startsWith('-') && upTo >= 0 && a.slice(0, upTo) === b.slice(0, upTo))
}

/** Two numbers that may be the same end, told a little later; also within an EXEC's reply. */
function isSameTime(ours: string, theirs: string): boolean {
  const numbers = /^:(\d+)$/gm
  if (ours.replace(numbers, ':') !== theirs.replace(numbers, ':')) return false
  const [a, b] = [ours, theirs].map((text) => [...text.matchAll(numbers)].map(([, digits]) => Number(digits)))
  return a!.every((ms, i) => {
    const apart = Math.abs(ms - b![i]!)
    if (apart === 0) return true
    const least = Math.min(ms, b![i]!)
    if (least < SHORTEST_END_S) return false
    return apart <= (least < SHORTEST_END_S * 1000 ? TOLERANCE_MS / 1000 : TOLERANCE_MS)
  })
}

const wrong = (problem: string): Verdict => ({ is: 'wrong', problem })
const shown = (text: string) => JSON.stringify(text.length > 300 ? `${text.slice(0, 300)}…` : text)

/** Where the reply that begins at `at` ends, or null: a part of it is missing, or it is none. */
function replyEnd(bytes: Buffer, at: number): number | null {
  const lineEnd = bytes.indexOf('\r\n', at)
  if (lineEnd === -1) return null
  const kind = String.fromCharCode(bytes[at]!)
  if (!'+-:$*_%~>=#,!('.includes(kind)) return null
  const count = Number(bytes.toString('latin1', at + 1, lineEnd))
  let end: number | null = lineEnd + 2
  if ('$=!'.includes(kind)) {
    if (count >= 0) end += count + 2
    return end <= bytes.length ? end : null
  }
  if (!'*%~>'.includes(kind)) return end
  for (let left = kind === '%' ? 2 * count : count; left > 0 && end !== null; left--)
    end = replyEnd(bytes, end)
  return end
}
