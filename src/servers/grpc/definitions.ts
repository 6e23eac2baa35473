/** The services as their files in proto/ define them. */
import { fileURLToPath } from 'node:url'
import type { MessageTypeDefinition, PackageDefinition } from '@grpc/proto-loader'
import type { Library } from './library.ts'
import { WIRE_TYPES, type Field, type Shape } from './wire.ts'

const FOLDER = fileURLToPath(new URL('proto', import.meta.url))
const FILES = ['rondo/v1/cache.proto', 'seed/pb.proto', 'seed/v1_cache.proto', 'grpc/health/v1/health.proto']

/** A file each: those of the seed have messages of one name. */
export function loadDefinitions(library: Library): PackageDefinition {
  return Object.assign({}, ...FILES.map((file) => load(file, library))) as PackageDefinition
}

/** Of the messages of the seed, as bytes. */
export function loadSeedMessages(library: Library): PackageDefinition {
  return load('seed/bytes.proto', library)
}

function load(file: string, { loadSync }: Library): PackageDefinition {
  return loadSync(file, {
    includeDirs: [FOLDER],
    keepCase: true,
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
  return { serialize, deserialize, shape: shapeOf(definitions, name) }
}

function shapeOf(definitions: PackageDefinition, name: string): Shape {
  const { type } = definitions[name] as { type: { field: readonly FieldDescriptor[] } }
  const inPackage = (typeName: string) => `${name.slice(0, name.lastIndexOf('.'))}.${typeName}`
  return new Map(
    type.field.map(({ number, type, typeName }): [number, Field] => {
      const wireType = WIRE_TYPES[type] ?? Infinity
      return type === 'TYPE_MESSAGE'
        ? [number, { type: wireType, inner: shapeOf(definitions, inPackage(typeName)) }]
        : [number, { type: wireType }]
    }),
  )
}

interface FieldDescriptor {
  readonly number: number
  readonly type: string
  /** Of a message in the same package. */
  readonly typeName: string
}

export interface Codec {
  readonly shape: Shape
  serialize(value: object): Buffer
  deserialize(bytes: Buffer): object
}
