/** Whether what came back is a row of well-formed answers, none of which tells the sender what is not for it. */
import type { Sender, Stream } from './streams.ts'

export interface Answer {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
  /** Content-Length names a body that an answer to HEAD does not have. */
  readonly isHead: boolean
}

const STATUSES = [
  100, 200, 202, 204, 400, 401, 403, 404, 405, 408, 409, 412, 413, 414, 415, 417, 429, 431, 503,
]
/** What a node:http server says by itself, without a body. */
const BARE = 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'

/** How a problem begins that a client may have made itself by leaving before it had its answers. */
export const CUT_SHORT = 'an answer is cut short'

/** Null, or what is wrong. */
export function judge(
  { sender, pieces }: Stream,
  bytes: Buffer,
  openBodies: readonly string[],
): string | null {
  const mayHead = pieces.some((piece) => piece.includes('HEAD '))
  let rest = bytes
  while (rest.length > 0) {
    const taken = take(rest, mayHead)
    if (typeof taken === 'string') {
      return rest.toString('latin1') === BARE ? null : `${taken}: ${shown(rest)}`
    }
    const problem = wrongIn(taken.answer, sender, openBodies)
    if (problem) return `${problem}: ${shown(rest)}`
    rest = rest.subarray(taken.length)
  }
  return null
}

function take(bytes: Buffer, mayHead: boolean): { answer: Answer; length: number } | string {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd < 0) return `${CUT_SHORT}: its head does not end`
  const [first = '', ...lines] = bytes.toString('latin1', 0, headEnd).split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3}) [\w' -]+$/.exec(first)?.[1])
  if (!STATUSES.includes(status)) return 'an unexpected status line'
  const headers = new Map<string, string>()
  for (const line of lines) {
    const [, name, value] = /^([\w-]+): ([\x20-\x7e]*)$/.exec(line) ?? []
    if (name === undefined) return `a header that is none, ${JSON.stringify(line)}`
    if (headers.has(name.toLowerCase())) return `the header ${name} comes twice`
    headers.set(name.toLowerCase(), value!)
  }
  const from = headEnd + 4
  const declared = headers.get('content-length')
  if (status === 100 || status === 204) return answerOf(status, headers, Buffer.alloc(0), false, from)
  if (declared === undefined || !/^\d+$/.test(declared)) return 'an answer without a Content-Length'
  const next = bytes.toString('latin1', from, from + 9)
  const isHead = mayHead && Number(declared) > 0 && (next === '' || next === 'HTTP/1.1 ')
  const end = isHead ? from : from + Number(declared)
  if (end > bytes.length) return `${CUT_SHORT}: its body has ${bytes.length - from} of ${declared} bytes`
  return answerOf(status, headers, bytes.subarray(from, end), isHead, end)
}

function answerOf(
  status: number,
  headers: Map<string, string>,
  body: Buffer,
  isHead: boolean,
  length: number,
) {
  return { answer: { status, headers, body, isHead }, length }
}

function wrongIn(answer: Answer, sender: Sender, openBodies: readonly string[]): string | null {
  const { status, headers, body, isHead } = answer
  const type = headers.get('content-type') ?? ''
  let json: Record<string, unknown> = {}
  if (!isHead && type.includes('json')) {
    try {
      json = JSON.parse(body.toString()) as Record<string, unknown>
    } catch {
      return 'a body that is no JSON'
    }
  }
  if (status >= 400) {
    if (!type.startsWith('application/problem+json')) return 'a refusal that is no problem+json'
    if (!isHead && (json.status !== status || typeof json.code !== 'string'))
      return 'a problem without status or code'
    return null
  }
  return isFor(sender, answer, json, openBodies) ? null : `what ${sender} must not get`
}

/** Whether this sender may see a success like this one. */
function isFor(
  sender: Sender,
  answer: Answer,
  json: Record<string, unknown>,
  openBodies: readonly string[],
): boolean {
  const { status, headers, body, isHead } = answer
  const isOpen = isHead
    ? openBodies.some((open) => String(Buffer.byteLength(open)) === headers.get('content-length'))
    : openBodies.includes(body.toString())
  if (isOpen) return status === 200
  const isMetrics = headers.get('content-type')?.startsWith('text/plain') ?? false
  const isStatus = Object.values(json).some(
    (node) => typeof node === 'object' && node !== null && 'isHealthy' in node,
  )
  const isRepair = 'lastRound' in json
  const isUsage = 'watched' in json
  const isMembers = Array.isArray(json.members) || 'phase' in json
  switch (sender) {
    case 'nobody':
      return false
    case 'data':
      return status !== 202 && !isUsage // only repairs and changes of members answer so
    case 'admin':
      // An answer to HEAD does not say what it is about; one with an ETag is about a key.
      return (
        status !== 204 &&
        (isMetrics ||
          isStatus ||
          isRepair ||
          isMembers ||
          isUsage ||
          status === 100 ||
          (isHead && !headers.has('etag')))
      )
  }
}

const shown = (bytes: Buffer) => JSON.stringify(bytes.toString('latin1', 0, 400))
