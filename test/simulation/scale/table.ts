/** A table as text: right-aligned columns under a title. */
export function tableOf(
  title: string,
  heads: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i]!.length)))
  const lineOf = (row: readonly string[]) => row.map((cell, i) => cell.padStart(widths[i]!)).join('  ')
  return [title, '', lineOf(heads), ...rows.map(lineOf)].join('\n')
}
