/**
 * The library's server with all services, made when the server listens.
 *
 * The library does the wire: HTTP/2, framing, compression, deadlines. Sockets are ours (listener.ts) and are handed to it, so
 * that certificates, the connection limit and the account of memory are those of all servers.
 */
import type { Http2Server, ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import type { ConnectionInjector, handleUnaryCall, Server } from '@grpc/grpc-js'
import type { PackageDefinition } from '@grpc/proto-loader'
import { asRondoError, RondoError } from '../../core/errors.ts'
import { newRequestId } from '../request-id.ts'
import { notReady } from '../readiness.ts'
import { ofManyKeys } from './batch.ts'
import { GrpcCall, type MethodKind } from './call.ts'
import { connectionOf, type CarriedCall } from './connection.ts'
import { loadDefinitions, loadSeedMessages, messageOf, type Codec } from './definitions.ts'
import { Health } from './health.ts'
import { list, type ListRequest } from './list.ts'
import { decode, FEW_FIELDS, methodsOf, ofOneKey, ofSeed, type Method } from './methods.ts'
import type { CallHost } from './options.ts'

/** Calls of one connection at once. */
const MAX_STREAMS = 100
const SERVICE = 'rondo.v1.Cache'
const SEED_SERVICES = ['pb.CacheService', 'v1.cache.CacheService']
const HEALTH = 'grpc.health.v1.Health'
const OTHER = 'other'
const LINGER_MS = 10_000
const CANCEL = 8

export class GrpcService {
  readonly health: Health
  private readonly host: CallHost
  private readonly server: Server
  private readonly injector: ConnectionInjector
  private readonly definitions: PackageDefinition
  /** By path, with a slash in front. */
  private readonly kinds = new Map<string, MethodKind>()
  /** Calls of Watch, which would never end. */
  private readonly watching = new Set<GrpcCall>()

  constructor(host: CallHost) {
    const { library, options } = host
    const { grpcMaxRecvBytes, grpcMaxSendBytes } = options
    this.host = host
    this.health = new Health(host.options, [SERVICE, ...SEED_SERVICES])
    this.definitions = loadDefinitions(library)
    this.server = new library.Server({
      'grpc.max_receive_message_length': grpcMaxRecvBytes,
      'grpc.max_send_message_length': grpcMaxSendBytes,
      'grpc.max_concurrent_streams': MAX_STREAMS,
      'grpc.enable_channelz': 0,
      interceptors: [
        // Methods that are not ours are those of the reflection service.
        ({ path }, call) =>
          new GrpcCall(call, this.kinds.get(path) ?? { name: path.slice(1), scope: 'open' }, host)
            .intercepted,
      ],
    })
    this.addKeys()
    this.addHealth()
    const services = [SERVICE, ...SEED_SERVICES, HEALTH]
    new library.ReflectionService(this.definitions, { services }).addToServer(this.server)
    this.injector = this.server.createConnectionInjector(library.ServerCredentials.createInsecure())
    // The library keeps what it hands connections to; only there are sessions seen, and streams of methods that it does not know.
    const { http2Servers } = this.server as unknown as { http2Servers: ReadonlyMap<Http2Server, unknown> }
    for (const http2 of http2Servers.keys()) this.watch(http2)
  }

  /** @param socket of a GrpcConnection */
  serve(socket: Socket): void {
    this.injector.injectConnection(socket)
  }

  /** Ends the streams that only tell whether this process is ready. */
  endWatching(): void {
    for (const call of this.watching) call.fail(notReady(this.host.options))
  }

  private addKeys(): void {
    const { maxBatchKeys } = this.host.options
    // Eight for each item: its own, and those of later versions.
    const many = (name: string) => maxBatchKeys * (name === 'BatchSet' ? 8 : 1) + FEW_FIELDS
    const seed = loadSeedMessages(this.host.library)
    const methods = [
      ...methodsOf(this.definitions, SERVICE, ofOneKey),
      ...methodsOf(this.definitions, SERVICE, ofManyKeys, many),
      ...SEED_SERVICES.flatMap((service) => methodsOf(seed, service, ofSeed, undefined, 'rondo.seed')),
    ]
    for (const method of methods) {
      this.add(method.name, 'unary', 'data', async (call, bytes) => {
        const answer = await method.run(call, decode(method, bytes) as never, this.host)
        await this.send(call, method.response, answer)
        call.finish()
      })
    }
    this.addList()
  }

  private addList(): void {
    const row = this.rowOf('List')
    this.add(row.name, 'serverStream', 'data', async (call, bytes) => {
      const request = decode(row, bytes) as ListRequest
      await list(call, request, this.host.options, (page) => this.send(call, row.response, page))
      call.finish()
    })
  }

  private rowOf(name: string): Omit<Method, 'run'> {
    const [row] = methodsOf(this.definitions, SERVICE, { [name]: () => Promise.reject(new Error(name)) })
    return row!
  }

  private addHealth(): void {
    const { HealthCheckRequest, HealthCheckResponse } = {
      HealthCheckRequest: messageOf(this.definitions, 'grpc.health.v1.HealthCheckRequest'),
      HealthCheckResponse: messageOf(this.definitions, 'grpc.health.v1.HealthCheckResponse'),
    }
    const asked = (bytes: Buffer) =>
      (decode({ request: HealthCheckRequest, mostFields: FEW_FIELDS }, bytes) as { service: string }).service
    this.add(`${HEALTH}/Check`, 'unary', 'open', async (call, bytes) => {
      const status = this.health.statusOf(asked(bytes))
      if (status === 'SERVICE_UNKNOWN') {
        call.fail(new RondoError('NOT_FOUND', 'There is no service of this name.'), 'NOT_FOUND')
        return
      }
      await this.send(call, HealthCheckResponse, { status })
      call.finish()
    })
    this.add(`${HEALTH}/Watch`, 'serverStream', 'open', (call, bytes) => {
      const end = this.health.watch(asked(bytes), (status) => {
        if (call.unsentBytes > 0) return false
        void this.send(call, HealthCheckResponse, { status })
        return true
      })
      this.watching.add(call)
      call.whenOver(() => {
        end()
        this.watching.delete(call)
      })
      return Promise.resolve()
    })
  }

  /** @param run answers the call, or rejects with why it does not */
  private add(
    name: string,
    type: 'unary' | 'serverStream',
    scope: MethodKind['scope'],
    run: (call: GrpcCall, request: Buffer) => Promise<void>,
  ): void {
    this.kinds.set(`/${name}`, { name, scope })
    const handle: handleUnaryCall<Buffer, Buffer> = ({ metadata, request }) => {
      const call = GrpcCall.of(metadata)
      // In a promise from the beginning: what it throws at once is a failure too.
      void Promise.resolve()
        .then(() => run(call, request))
        .catch((error: unknown) => call.fail(asRondoError(error)))
    }
    const asItIs = (bytes: Buffer) => bytes
    this.server.register(`/${name}`, handle, asItIs, asItIs, type)
  }

  private async send(call: GrpcCall, codec: Codec, answer: object): Promise<void> {
    const { grpcMaxSendBytes } = this.host.options
    const bytes = codec.serialize(answer)
    if (bytes.length > grpcMaxSendBytes) {
      const sentence = `The answer has ${bytes.length} bytes; at most ${grpcMaxSendBytes} are sent (GRPC_MAX_SEND_BYTES).`
      throw new RondoError('VALUE_TOO_LARGE', sentence)
    }
    await call.send(bytes)
  }

  private watch(http2: Http2Server): void {
    http2.on('session', (session: ServerHttp2Session) => connectionOf(session.socket)?.speaks(session))
    http2.on('sessionError', () => undefined) // the connection is broken, and closed
    http2.on('stream', (stream: ServerHttp2Stream, headers) => {
      if (!this.knows(String(headers[':path'])) || !isGrpc(headers['content-type'])) this.noteOther(stream)
    })
  }

  private knows(path: string): boolean {
    return (
      this.kinds.has(path) ||
      /^\/grpc\.reflection\.v1(alpha)?\.ServerReflection\/ServerReflectionInfo$/.test(path)
    )
  }

  /** The library has refused it: there is no such method, or it is no call of gRPC. */
  private noteOther(stream: ServerHttp2Stream): void {
    const { monotonicMs } = this.host.options
    const connection = connectionOf(stream.session?.socket)
    const startedAtMs = monotonicMs()
    const carried: CarriedCall = {
      unsentBytes: 0,
      check: (nowMs) => void (nowMs - startedAtMs >= LINGER_MS && stream.close(CANCEL)),
    }
    connection?.began(carried)
    stream.once('close', () => connection?.ended(carried))
    const error = new RondoError('NOT_FOUND', 'There is no such method, or it is no call of gRPC.')
    this.host.ended({ id: newRequestId(), method: OTHER, status: 'UNIMPLEMENTED', ms: 0, error })
  }
}

function isGrpc(contentType: string | undefined): boolean {
  return contentType?.startsWith('application/grpc') === true
}
