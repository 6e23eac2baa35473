/** Tables of `npm run exercise`. */
export interface Row {
  readonly what: string
  readonly found: string
  readonly target?: string
  readonly reached?: boolean
}

export function none(what: string, found: number): Row {
  return { what, found: String(found), target: '0', reached: found === 0 }
}

export function atMost(what: string, found: number, most: number, unit: string): Row {
  const text = Number.isInteger(found) ? String(found) : found.toFixed(3)
  return { what, found: `${text}${unit}`, target: `≤ ${most}${unit}`, reached: found <= most }
}

export function table(rows: readonly Row[]): string {
  const what = Math.max(...rows.map((row) => row.what.length))
  const found = Math.max(...rows.map((row) => row.found.length))
  return rows
    .map((row) => {
      const mark = row.reached === undefined ? '' : row.reached ? 'reached' : 'MISSED'
      return `  ${row.what.padEnd(what)}  ${row.found.padEnd(found)}  ${(row.target ?? '').padEnd(10)}  ${mark}`.trimEnd()
    })
    .join('\n')
}
