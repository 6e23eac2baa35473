/** Puts loading together: a function of the embedding program, or LOADER_URL. */
import type { LoaderConfig } from '../config/config.ts'
import { OriginAddresses } from '../config/origin-addresses.ts'
import type { LoadFunction } from '../loader/api.ts'
import { GuardedFetch } from '../loader/guarded-fetch.ts'
import { Loader, type LoaderOptions } from '../loader/loader.ts'
import { urlOrigin, type OriginFetch } from '../loader/origin.ts'

export interface Loading {
  readonly loader: Loader
  stop(): void
}

interface LoadingOptions extends Omit<LoaderOptions, 'origin' | keyof LoaderConfig> {
  readonly maxValueBytes: number
  readonly function: LoadFunction | undefined
  readonly fetch: OriginFetch | undefined
}

/** Null: nothing is loaded. */
export function createLoading(config: LoaderConfig, options: LoadingOptions): Loading | null {
  const { url, allow } = config
  if (options.function) {
    const loader = new Loader({
      ...config,
      ...options,
      origin: { load: options.function, hasDatabases: true },
    })
    return { loader, stop: () => loader.stop() }
  }
  if (url === null) return null
  const guarded = new GuardedFetch(new OriginAddresses(allow))
  const load = urlOrigin(url, options.fetch ?? guarded.fetch, options.maxValueBytes)
  const loader = new Loader({ ...config, ...options, origin: { load, hasDatabases: url.includes('{db}') } })
  return {
    loader,
    stop: () => {
      loader.stop()
      guarded.close()
    },
  }
}
