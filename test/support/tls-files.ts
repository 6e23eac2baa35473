/**
 * Certificates of the tests, valid for `localhost` and `127.0.0.1`:
 * - `cert`, `key`: a server's, signed by itself
 * - `node`, `client`: signed by `ca`
 * - `stranger`: signed by itself, and trusted by nobody
 */
import { fileURLToPath } from 'node:url'

type Name =
  'ca' | 'cert' | 'key' | 'node' | 'node-key' | 'client' | 'client-key' | 'stranger' | 'stranger-key'

/** The path of one of them. */
export function tlsFile(name: Name): string {
  return fileURLToPath(new URL(`tls/${name}.pem`, import.meta.url))
}

/** Whether this is why it did not start: a redis-server that was built without TLS. */
export function knowsNoTls(error: unknown): boolean {
  return /Bad directive|Failed to configure TLS|unknown option/i.test(String(error))
}
