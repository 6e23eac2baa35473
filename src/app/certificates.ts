/**
 * TLS for all servers and node connections: the only place that reads and checks certificate files.
 *
 * Invariants: versions and ciphers are those below, whatever the defaults of Node.js or its command line; a peer whose
 * certificate does not verify is refused. `reload()` replaces all files, or none if one is bad. New connections use the
 * files read last; open ones are not affected.
 */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import {
  createSecureContext,
  type ConnectionOptions,
  type SecureContext,
  type SecureContextOptions,
  type TlsOptions,
} from 'node:tls'
import type { Config, KeyPairFiles } from '../config/config.ts'

/** Only ciphers with forward secrecy and authenticated encryption: others have known attacks in TLS 1.2 (RFC 9325, 4.2). */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':')

/** A file that cannot be used. The message is for the operator. */
export class CertificateError extends Error {}

type TlsConfig = Pick<Config, 'nodes' | 'tls' | 'tlsMinVersion'>
interface Loaded {
  readonly servers: TlsOptions | null
  readonly nodes: SecureContext | null
}

export class Certificates {
  private readonly config: TlsConfig
  private loaded: Loaded

  /** @throws CertificateError */
  constructor(config: TlsConfig) {
    this.config = config
    this.loaded = load(config)
  }

  /** For all servers; null = without TLS. */
  get servers(): TlsOptions | null {
    return this.loaded.servers
  }

  /** For the next connection to a node. */
  readonly forNode = (): ConnectionOptions => {
    const { nodes } = this.loaded
    return { rejectUnauthorized: true, ...(nodes === null ? {} : { secureContext: nodes }) }
  }

  /** @throws CertificateError; then nothing is changed */
  reload(): void {
    this.loaded = load(this.config)
  }
}

function load({ nodes, tls, tlsMinVersion }: TlsConfig): Loaded {
  const policy = { minVersion: tlsMinVersion, ciphers: CIPHERS, honorCipherOrder: true } as const
  return {
    servers: tls && {
      ...policy,
      ...keyPair('TLS', tls, policy),
      ...(tls.clientCaFile === null
        ? {}
        : {
            ca: authorities('TLS_CLIENT_CA_FILE', tls.clientCaFile),
            requestCert: true,
            rejectUnauthorized: true,
          }),
    },
    nodes:
      nodes.kind === 'redis' && nodes.addresses.some((address) => address.tls)
        ? createSecureContext({
            ...policy,
            ...(nodes.tlsCaFile === null ? {} : { ca: authorities('NODE_TLS_CA_FILE', nodes.tlsCaFile) }),
            ...(nodes.tlsKeyPair === null ? {} : keyPair('NODE_TLS', nodes.tlsKeyPair, policy)),
          })
        : null,
  }
}

function keyPair(
  prefix: 'TLS' | 'NODE_TLS',
  { certFile, keyFile }: KeyPairFiles,
  policy: SecureContextOptions,
): { cert: Buffer; key: Buffer } {
  const names = [`${prefix}_CERT_FILE`, `${prefix}_KEY_FILE`] as const
  const pair = { cert: read(names[0], certFile), key: read(names[1], keyFile) }
  try {
    createSecureContext({ ...policy, ...pair })
  } catch (error) {
    throw new CertificateError(
      `${names[0]} (${certFile}) and ${names[1]} (${keyFile}) must be a certificate and its own private key, ` +
        `without a passphrase, in PEM form: ${(error as Error).message}.`,
      { cause: error },
    )
  }
  return pair
}

/** Node.js silently accepts a file without any certificate, and then trusts no peer. */
function authorities(name: string, path: string): Buffer {
  const pem = read(name, path)
  try {
    new X509Certificate(pem)
  } catch (error) {
    throw new CertificateError(`${name} (${path}) must hold certificates in PEM form.`, { cause: error })
  }
  return pem
}

function read(name: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new CertificateError(`${name} is ${path}, which cannot be read (${code}). Correct one of them.`, {
      cause: error,
    })
  }
}
