/** The services as their files in proto/ define them. */
import { fileURLToPath } from 'node:url'
import {
  loadSync,
  type EnumTypeDefinition,
  type MessageTypeDefinition,
  type PackageDefinition,
} from '@grpc/proto-loader'

export type Definition = PackageDefinition[string]

const FOLDER = fileURLToPath(new URL('proto', import.meta.url))
const FILES = ['rondo/v1/cache.proto', 'seed/pb.proto', 'seed/v1_cache.proto', 'grpc/health/v1/health.proto']

/** A file each: those of the seed have messages of one name. */
export function loadDefinitions(): PackageDefinition {
  return Object.assign({}, ...FILES.map(load)) as PackageDefinition
}

/** Of the messages of the seed, as bytes. */
export function loadSeedMessages(): PackageDefinition {
  return load('seed/bytes.proto')
}

function load(file: string): PackageDefinition {
  return loadSync(file, {
    includeDirs: [FOLDER],
    longs: Number,
    enums: String,
    defaults: true,
    arrays: true,
    oneofs: true,
  })
}

/** A message of one of them: what reads and writes it. */
export function messageOf(definitions: PackageDefinition, name: string): Codec {
  const { serialize, deserialize } = definitions[name] as MessageTypeDefinition<object, object>
  return { serialize, deserialize }
}

export interface Codec {
  serialize(value: object): Buffer
  deserialize(bytes: Buffer): object
}

export type { EnumTypeDefinition }
