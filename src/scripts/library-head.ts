/** The first line of a library: `#!lua name=mylib`. */

const NAME = /^\w+$/
const MOST_BYTES = 1024

/** Or why it is none, as Redis says it. */
export function aboutLibrary(source: Buffer): { readonly name: string; readonly engine: string } | string {
  if (source[0] !== 0x23 || source[1] !== 0x21) return 'ERR Missing library metadata'
  const end = source.subarray(0, MOST_BYTES).indexOf(0x0a)
  if (end === -1) return 'ERR Invalid library metadata'
  const [engine = '', ...options] = source.toString('latin1', 2, end).split(' ').filter(Boolean)
  let name: string | null = null
  for (const option of options) {
    if (!option.toLowerCase().startsWith('name=')) return `ERR Invalid metadata value given: ${option}`
    if (name !== null) return 'ERR Invalid metadata value, name argument was given multiple times'
    name = option.slice('name='.length)
  }
  if (name === null) return 'ERR Library name was not given'
  if (!NAME.test(name)) {
    return 'ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long'
  }
  if (engine.toLowerCase() !== 'lua') return `ERR Engine '${engine}' not found`
  return { name, engine: 'LUA' }
}
