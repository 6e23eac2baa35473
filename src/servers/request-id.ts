/** Ids of requests, for log lines and answers. */
let requestCount = 0
/** Distinguishes processes in merged logs. */
let idPrefix = ''

export function setRequestIdPrefix(prefix: string): void {
  idPrefix = prefix
}

export function newRequestId(): string {
  return `${idPrefix}${(++requestCount).toString(36)}`
}
