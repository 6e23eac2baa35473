/** A stock gRPC client of all services that Rondo has, over @grpc/grpc-js and the files that it publishes. */
import { connect, constants, type ClientHttp2Session } from 'node:http2'
import { fileURLToPath } from 'node:url'
import {
  Client,
  credentials,
  Metadata,
  status,
  type ChannelCredentials,
  type ServiceError,
} from '@grpc/grpc-js'
import { loadSync, type MethodDefinition, type ServiceDefinition } from '@grpc/proto-loader'

const FOLDER = fileURLToPath(new URL('../../src/servers/grpc/proto', import.meta.url))
const FILES = ['rondo/v1/cache.proto', 'seed/pb.proto', 'seed/v1_cache.proto', 'grpc/health/v1/health.proto']
const OPTIONS = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true }

type AnyMethod = MethodDefinition<object, object>

/** By name: `rondo.v1.Cache/Get`. */
export const METHODS: ReadonlyMap<string, AnyMethod> = new Map(
  FILES.flatMap((file) => {
    const loaded = loadSync(file, { ...OPTIONS, includeDirs: [FOLDER] })
    return Object.entries(loaded)
      .filter(([, definition]) => !('format' in definition))
      .flatMap(([service, definition]) =>
        Object.entries(definition as ServiceDefinition).map(
          ([method, row]) => [`${service}/${method}`, row] as const,
        ),
      )
  }),
)

export interface Answer {
  /** The name of the status. */
  readonly status: string
  readonly details: string
  readonly trailers: Readonly<Record<string, unknown>>
  /** Of a stream, all of them. */
  readonly messages: readonly Record<string, never>[]
}

export interface CallSettings {
  readonly metadata?: Readonly<Record<string, string>>
  readonly deadlineMs?: number
  /** Called for each message of a stream, as it comes. */
  readonly onMessage?: (message: Record<string, never>) => void
  /** Called with the call as soon as it is begun. */
  readonly begun?: (call: { cancel(): void }) => void
}

export class GrpcClient {
  readonly client: Client

  constructor(port: number, secure: ChannelCredentials = credentials.createInsecure(), options: object = {}) {
    // A channel of its own: others of the same address share one.
    this.client = new Client(`localhost:${port}`, secure, { 'grpc.use_local_subchannel_pool': 1, ...options })
  }

  /** @param request an object, or bytes as they are sent */
  call(name: string, request: object | Buffer, settings: CallSettings = {}): Promise<Answer> {
    const { requestStream, responseStream, path, requestSerialize, responseDeserialize } = METHODS.get(name)!
    if (requestStream) throw new Error(`${name} is not for this client`)
    const serialize = (value: object) => (Buffer.isBuffer(value) ? value : requestSerialize(value))
    const metadata = new Metadata()
    for (const [key, value] of Object.entries(settings.metadata ?? {})) metadata.add(key, value)
    const options = settings.deadlineMs === undefined ? {} : { deadline: Date.now() + settings.deadlineMs }
    const messages: Record<string, never>[] = []
    return new Promise((resolve) => {
      const { client } = this
      const call = responseStream
        ? client.makeServerStreamRequest(path, serialize, responseDeserialize, request, metadata, options)
        : client.makeUnaryRequest(
            path,
            serialize,
            responseDeserialize,
            request,
            metadata,
            options,
            (_error, value) => {
              if (value) messages.push(value as Record<string, never>)
            },
          )
      if (responseStream) {
        call.on('data', (message: Record<string, never>) => {
          messages.push(message)
          settings.onMessage?.(message)
        })
        call.on('error', () => undefined) // the status tells it too
      }
      call.on('status', ({ code, details, metadata: trailers }: ServiceError) => {
        // The callback with the message comes in the same turn.
        setImmediate(() => resolve({ status: status[code], details, trailers: trailers.getMap(), messages }))
      })
      settings.begun?.(call)
    })
  }

  close(): void {
    this.client.close()
  }
}

/** HTTP/2 without a library of gRPC, for what no such library sends. */
export function rawSession(port: number): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${port}`)
  session.on('error', () => undefined) // the server closes it
  return session
}

export function grpcHeaders(
  name: string,
  more: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    [constants.HTTP2_HEADER_PATH]: `/${name}`,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...more,
  }
}

/** A message as it stands in a stream of gRPC. */
export function framed(message: Buffer, length = message.length): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(length, 1)
  return Buffer.concat([head, message])
}
