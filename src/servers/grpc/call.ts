/**
 * One call, between the library and a method: the token, memory, back-pressure, how it ends, and what is told of it.
 *
 * The library's interceptor sees a call before anything of its request is read. It is admitted there: without a right token
 * nothing is read. From then on its bytes count in the account of its connection.
 *
 * Bytes of a message that is not complete yet only the HTTP/2 stream knows. The library has it as a private field, so the version
 * of the library is pinned, and tests break if it is not there.
 */
import type { ServerHttp2Stream } from 'node:http2'
import type { Metadata, ServerInterceptingCall, ServerInterceptingCallInterface } from '@grpc/grpc-js'
import type { ClientCall, Requester, ServedBy } from '../../coordinator/api.ts'
import type { CallOptions } from '../../coordinator/promises.ts'
import { isConsistencyLevel, type ConsistencyLevel } from '../../core/consistency.ts'
import { asRondoError, RondoError, stopped } from '../../core/errors.ts'
import { InputTimeout } from '../input-timeout.ts'
import { COMMAND_BYTES } from '../ledger.ts'
import { newRequestId } from '../request-id.ts'
import { WrongToken } from '../wrong-token.ts'
import { connectionOf, type CarriedCall, type GrpcConnection } from './connection.ts'
import type { CallHost } from './options.ts'
import { checkToken } from './token.ts'
import { statusCode, statusName, statusOf, type Status, type StatusName } from './status.ts'

/** `open`: no token is needed, so its messages are short. */
export type Scope = 'open' | 'data'

export interface MethodKind {
  /** `rondo.v1.Cache/Get` */
  readonly name: string
  readonly scope: Scope
}

/** What a call holds in objects of the library. */
const CALL_BYTES = COMMAND_BYTES + 4096
const MOST_OPEN_BYTES = 64 * 1024
/** Of a stream of requests, those that are read before the first of their answers is taken. */
const MOST_UNANSWERED = 4
/** How long one message may wait until the client takes it. */
const UNTAKEN_MS = 300_000
/** How long a client may go on sending after its call has ended. */
const LINGER_MS = 10_000
const CANCEL = 8
const TOO_LONG: number = statusCode('RESOURCE_EXHAUSTED')
/** Of a call on many keys, there may be as many as the cluster has. */
const MOST_NODES = 16
const NOT_IN_IDS = /[^\w.:[\], -]/g
const SENT_ID = /^[\w.:-]{1,64}$/

const calls = new WeakMap<Metadata, GrpcCall>()

export class GrpcCall implements CarriedCall, ClientCall {
  /** The call as the library goes on with it. */
  readonly intercepted: ServerInterceptingCall
  /** When the client gives up, monotonic. */
  readonly dueAtMs: number
  /** Of an operation on keys: the answer tells it. */
  level: ConsistencyLevel | null = null
  /** Bytes of answers that the client has not taken yet. */
  unsentBytes = 0
  private id = ''
  private readonly host: CallHost
  private readonly method: MethodKind
  private readonly stream: ServerHttp2Stream
  private readonly connection: GrpcConnection | undefined
  private readonly startedAtMs: number
  private metadata: Metadata | null = null
  private error: RondoError | null = null
  /** The nodes that the answer is of. */
  private readonly nodes: string[] = []
  private heldBytes = 0
  private received = 0
  private answered = 0
  /** Hands on a message of a stream, once answers to earlier ones are on their way. */
  private held: (() => void) | null = null
  private isComplete = false
  private input: InputTimeout | null = null
  private inputBytes = 0
  private untakenSinceMs: number
  private endedAtMs: number | null = null
  /** The code of the status that it was sent; null = it was cancelled before. */
  private sentStatus: number | null = null
  private onOver: (() => void)[] = []

  constructor(inner: ServerInterceptingCallInterface, method: MethodKind, host: CallHost) {
    const { monotonicMs } = host.options
    this.host = host
    this.method = method
    this.startedAtMs = this.untakenSinceMs = monotonicMs()
    this.dueAtMs = this.startedAtMs + Number(inner.getDeadline()) - Date.now()
    this.stream = (inner as unknown as { stream: ServerHttp2Stream }).stream
    this.connection = connectionOf(this.stream.session?.socket)
    this.stream.once('close', () => this.connection?.ended(this))
    this.intercepted = this.intercept(inner)
  }

  /** Of the metadata that the library hands to a method. */
  static of(metadata: Metadata): GrpcCall {
    return calls.get(metadata)!
  }

  // ---- what its method asks

  /** The client waits no longer. */
  get gone(): boolean {
    return this.endedAtMs !== null || this.host.options.monotonicMs() >= this.dueAtMs
  }

  /** @throws RondoError if nobody waits for the answer */
  checkWanted(): void {
    if (this.gone) throw stopped('request')
  }

  /** For operations on keys. @throws RondoError BAD_REQUEST */
  asked(byDefault: ConsistencyLevel): CallOptions {
    const text = this.sent('consistency')
    if (text !== undefined && !isConsistencyLevel(text))
      throw new RondoError('BAD_REQUEST', 'consistency is one, quorum or all.')
    this.level = text ?? byDefault
    return {
      requester: this.connection?.requester ?? NOBODY,
      call: this,
      level: this.level,
      onServed: (by) => this.servedBy(by),
    }
  }

  /** @throws RondoError BAD_REQUEST */
  get database(): number {
    const { databases } = this.host.options
    const text = this.sent('db') ?? '0'
    if (/^(?:0|[1-9]\d{0,3})$/.test(text) && Number(text) < databases) return Number(text)
    throw new RondoError(
      'BAD_REQUEST',
      `db is a whole number from 0 to ${databases - 1}, without leading zeros (DATABASES).`,
    )
  }

  /** Counts more memory until it ends. @throws RondoError if that is refused */
  hold(bytes: number): void {
    if (this.endedAtMs !== null || !this.connection) return
    this.heldBytes += bytes
    this.connection.account.add(bytes)
    if (this.connection.account.isRefused) throw this.connection.account.refusal()
  }

  /** @throws RondoError BAD_REQUEST */
  private sent(name: string): string | undefined {
    const values = this.metadata!.get(name)
    if (values.length > 1) throw new RondoError('BAD_REQUEST', `The metadata "${name}" is given twice.`)
    return values.length === 0 ? undefined : String(values[0])
  }

  private servedBy(by: ServedBy): void {
    for (const { id } of 'id' in by ? [by] : by) {
      if (this.nodes.length < MOST_NODES && !this.nodes.includes(id)) this.nodes.push(id)
    }
  }

  // ---- how it is answered

  /** Resolves once the client takes it, or the call has ended. */
  send(message: Buffer): Promise<void> {
    if (this.endedAtMs !== null) return Promise.resolve()
    const { monotonicMs } = this.host.options
    if (this.unsentBytes === 0) this.untakenSinceMs = monotonicMs()
    this.unsentBytes += message.length
    this.add(message.length)
    return new Promise((resolve) => {
      this.onOver.push(resolve)
      this.intercepted.sendMessage(message, () => {
        this.unsentBytes -= message.length
        this.add(-message.length)
        this.untakenSinceMs = monotonicMs()
        this.onOver = this.onOver.filter((other) => other !== resolve)
        resolve()
      })
    })
  }

  finish(): void {
    this.intercepted.sendStatus({ code: statusCode('OK'), details: 'OK', metadata: this.trailers() })
  }

  /** @param name of the status, where gRPC says which; that of a call whose deadline has passed says so */
  fail(thrown: unknown, name?: StatusName): void {
    if (this.endedAtMs !== null) return
    this.error = asRondoError(thrown)
    const isLate = this.host.options.monotonicMs() >= this.dueAtMs
    const status = statusOf(this.error, this.trailers(), isLate ? 'DEADLINE_EXCEEDED' : name)
    this.intercepted.sendStatus(status)
  }

  whenOver(run: () => void): void {
    if (this.endedAtMs === null) this.onOver.push(run)
    else run()
  }

  private trailers(): Metadata {
    const trailers = new this.host.library.Metadata()
    trailers.set('rondo-request-id', this.id)
    if (this.level !== null) trailers.set('rondo-consistency', this.level)
    // An id is whatever the members have agreed on.
    if (this.nodes.length > 0) trailers.set('rondo-served-by', this.nodes.join(', ').replace(NOT_IN_IDS, '?'))
    return trailers
  }

  // ---- what the library asks

  private intercept(inner: ServerInterceptingCallInterface): ServerInterceptingCall {
    // The library ends some calls by itself: at their deadline, or because a message is too long.
    const sendStatus = inner.sendStatus.bind(inner)
    inner.sendStatus = (status) => {
      if (this.endedAtMs !== null) return
      this.sentStatus ??= status.code
      sendStatus(Number(status.code) === TOO_LONG && this.error === null ? this.tooLong() : status)
    }
    return new this.host.library.ServerInterceptingCall(inner, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, proceed) => this.admit(metadata, () => proceed(metadata)),
          onReceiveMessage: (message: unknown, proceed) =>
            this.receiveMessage(message, () => proceed(message)),
          onReceiveHalfClose: (proceed) => {
            this.isComplete = true
            proceed()
          },
          onCancel: () => this.over(),
        }),
      // The next one comes only when the client has taken this one.
      sendMessage: (message, next) => {
        this.answered++
        next(message)
        const { held } = this
        this.held = null
        held?.()
      },
    })
  }

  private tooLong(): Status {
    const { grpcMaxRecvBytes } = this.host.options
    const sentence = `The message has more than ${grpcMaxRecvBytes} bytes (GRPC_MAX_RECV_BYTES).`
    this.error = new RondoError('VALUE_TOO_LARGE', sentence, { outcome: 'not-applied' })
    return statusOf(this.error, this.trailers())
  }

  /** The service of reflection reads as fast as it can, and keeps what its client does not take. */
  private receiveMessage(message: unknown, proceed: () => void): void {
    this.received++
    try {
      // Once more: decompressed, it may be a thousand times as long as it was.
      if (Buffer.isBuffer(message)) this.hold(message.length)
    } catch (error) {
      this.fail(error)
      return
    }
    if (this.received - this.answered <= MOST_UNANSWERED) proceed()
    else this.held = proceed
  }

  private add(bytes: number): void {
    if (this.endedAtMs !== null) return
    this.heldBytes += bytes
    this.connection?.account.add(bytes)
  }

  // ---- admission

  private admit(metadata: Metadata, proceed: () => void): void {
    const { connection } = this
    this.metadata = metadata
    calls.set(metadata, this)
    const [sentId] = metadata.get('x-request-id')
    this.id = typeof sentId === 'string' && SENT_ID.test(sentId) ? sentId : newRequestId()
    this.add(CALL_BYTES)
    if (connection?.began(this) === false) {
      this.fail(connection.account.refusal())
      return
    }
    const refused = this.refusal(metadata)
    if (refused instanceof WrongToken) this.refuseLater(refused)
    else if (refused) this.fail(refused)
    else this.receive(proceed)
  }

  /** Null, or why the client may not call this. */
  private refusal(metadata: Metadata): RondoError | null {
    const { options } = this.host
    if (this.method.scope === 'open' || options.tokens.data.length === 0) return null
    const refused = checkToken(metadata, this.stream.session?.socket.remoteAddress, options)
    if (!refused) this.connection?.showedToken()
    return refused
  }

  private refuseLater(error: WrongToken): void {
    const { delayMs, close } = error.refusal
    const refuse = () => this.fail(error)
    if (close) {
      refuse()
      this.connection?.end()
    } else this.onOver.push(this.host.options.tries.hold(delayMs, refuse))
  }

  /** Counts the request's bytes from now on, and reads it once there is memory for it. */
  private receive(proceed: () => void): void {
    const { stream, connection } = this
    stream.on('data', (chunk: Buffer) => this.count(chunk.length))
    if (connection) connection.whenRoom(proceed)
    else proceed()
  }

  private count(bytes: number): void {
    const { stream, connection } = this
    this.inputBytes += bytes
    if (this.endedAtMs !== null) return
    this.add(bytes)
    if (this.method.scope === 'open' && this.inputBytes > MOST_OPEN_BYTES) {
      this.fail(
        new RondoError('BAD_REQUEST', `Requests of this method have ${MOST_OPEN_BYTES} bytes at most.`),
      )
    } else if (connection?.account.mustWait && !stream.isPaused()) {
      // In the middle of a message; behind it the library has paused the stream itself.
      stream.pause()
      connection.whenRoom(() => stream.resume())
    }
  }

  // ---- its end

  private over(): void {
    if (this.endedAtMs !== null) return
    const nowMs = this.host.options.monotonicMs()
    this.endedAtMs = nowMs
    this.connection?.account.add(-this.heldBytes)
    const waiting = this.onOver
    this.onOver = []
    for (const run of waiting) run()
    this.host.ended({
      id: this.id,
      method: this.method.name,
      status: statusName(this.sentStatus ?? statusCode('CANCELLED')),
      ms: nowMs - this.startedAtMs,
      error: this.error,
    })
  }

  check(nowMs: number): void {
    const { stream } = this
    if (this.endedAtMs !== null) {
      if (nowMs - this.endedAtMs >= LINGER_MS) stream.close(CANCEL)
      return
    }
    if (this.unsentBytes > 0 && nowMs - this.untakenSinceMs >= UNTAKEN_MS) stream.close(CANCEL)
    if (this.isComplete) return
    this.input ??= new InputTimeout(nowMs)
    const isRead = !stream.isPaused() && this.held === null
    if (this.input.isSpent(nowMs, isRead, this.inputBytes, this.received))
      this.fail(new RondoError('BAD_REQUEST', 'The request did not arrive in time.'))
  }
}

/** For a connection that is gone. */
const NOBODY: Requester = { waiting: 0, begunAtMs: 0, gone: true, noneWaits: () => undefined }
