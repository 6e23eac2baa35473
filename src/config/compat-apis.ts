/** HTTP dialects of other systems, which COMPAT_APIS turns on. Those that end in `-get` let a GET change keys. */
export const COMPAT_APIS = ['upstash', 'upstash-get', 'ringg', 'lru', 'lru-get', 'cache-cluster'] as const
export type CompatApi = (typeof COMPAT_APIS)[number]

/** Null = one of the names is not known. `x-get` turns on `x` too. */
export function parseCompatApis(text: string): readonly CompatApi[] | null {
  const names = text.split(',').map((name) => name.trim())
  const known = names.filter((name): name is CompatApi => (COMPAT_APIS as readonly string[]).includes(name))
  if (known.length < names.length) return null
  const all = known.flatMap((name) => [name, name.replace(/-get$/, '') as CompatApi])
  return COMPAT_APIS.filter((name) => all.includes(name))
}
