/**
 * The control path to a Redis: probes, markers, listings, over ioredis.
 *
 * ioredis may resend what it has reported as failed. It is therefore set up never to queue, resend, or reconnect by
 * itself: health decides when to try again, by probing. Replies are checked before ioredis sees them (control-stream.ts)
 * and after it (control-replies.ts). An invalid reply closes the connection: later ones could be mismatched.
 *
 * Every probe that connects loads the scripts. After a SCRIPT FLUSH the node replies NOSCRIPT, the only refusal after
 * which a call is sent again, with the script's text: it was certainly not applied.
 */
import type { ConnectionOptions } from 'node:tls'
import { Redis } from 'ioredis'
import type { TimerHandle } from '../../core/clock.ts'
import {
  DECIDED_KEY,
  hintsKey,
  MARKER_KEY,
  PERMISSION_KEY,
  SYNCED_AT_KEY,
  TOPOLOGY_KEY,
} from '../../core/keys.ts'
import { printable } from '../../core/printable.ts'
import { decodeSyncedAt } from '../../core/synced-at.ts'
import {
  bytesOrNil,
  infoReply,
  integerReply,
  loadedReply,
  namesReply,
  NotAnAnswer,
  settingReply,
  timeReply,
} from './control-replies.ts'
import { BrokenFraming, guardedConnector } from './control-stream.ts'
import { errorReason } from './error-replies.ts'
import { NodeCallFailed } from '../failures.ts'
import type { NodeReport } from '../node.ts'
import { CHECKED_COMMANDS, forbiddenBy, forbiddenSentence } from '../permissions.ts'
import type { RedisNodeOptions } from './options.ts'
import { ACCEPT, CHECK_PERMISSIONS, HINT, PEEK, PREPARE, STORE, STORE_ALL, type Script } from './scripts.ts'
import { passwordRefused, withoutSecrets } from './secrets.ts'
import { socketSentence } from './socket-errors.ts'

type Argument = string | Buffer

/** One command of a probe, and the handler of its reply. */
interface Question {
  readonly command: string
  readonly args: readonly Argument[]
  readonly take: (reply: unknown) => void
}

const LOADED_SCRIPTS = [STORE, PEEK, PREPARE, ACCEPT, STORE_ALL, HINT, CHECK_PERMISSIONS]

/** The node replied with an error. */
class ErrorReply extends NodeCallFailed {}

export class ControlPath {
  private readonly options: RedisNodeOptions
  private readonly tlsOptions: () => ConnectionOptions
  private client: Redis | null = null
  private connecting: Promise<Redis> | null = null
  private closed = false
  /** The reason why the connection ended. */
  private lastError: Error | null = null
  private appendfsync: string | null = null
  /** What failed while connecting. */
  private forbiddenAtConnect: readonly string[] = []

  constructor(options: RedisNodeOptions, tlsOptions: () => ConnectionOptions) {
    this.options = options
    this.tlsOptions = tlsOptions
  }

  /** Sends a command and passes the reply to `read`, which throws NotAnAnswer if it is invalid. */
  async ask<T>(command: string, args: readonly Argument[], read: (reply: unknown) => T): Promise<T> {
    const client = await this.connected()
    return this.readAnswer(client.callBuffer(command, ...args), read)
  }

  async run<T>(
    script: Script,
    keys: readonly Buffer[],
    args: readonly Argument[],
    read: (reply: unknown) => T,
  ): Promise<T> {
    const client = await this.connected()
    const rest = [String(keys.length), ...keys, ...args]
    const answer = client.callBuffer('EVALSHA', script.sha, ...rest).catch((error: Error) => {
      if (!error.message.startsWith('NOSCRIPT')) throw error
      return client.callBuffer('EVAL', script.text, ...rest)
    })
    return this.readAnswer(answer, read)
  }

  close(): void {
    this.closed = true
    this.client?.disconnect()
  }

  async probe(peers: readonly string[]): Promise<NodeReport> {
    const { connectTimeoutMs, nodeTimeoutMs, clock } = this.options
    const client = await this.inTime(connectTimeoutMs + nodeTimeoutMs, this.connected())
    const found = new ProbeAnswers(peers)
    const questions = found.questions()
    const sentAtMonotonicMs = clock.monotonicMs()
    const pipeline = client.pipeline()
    for (const { command, args } of questions) pipeline.callBuffer(command, ...args)
    const answers = await this.inTime(nodeTimeoutMs, pipeline.exec())
    const receivedAtMonotonicMs = clock.monotonicMs()
    const denied = await this.readAnswer(Promise.resolve(answers), (replies) =>
      takeAnswers(questions, replies as [Error | null, unknown][]),
    )
    found.refuseMode()
    if (denied.length > 0) throw new Error(forbiddenSentence([...this.forbiddenAtConnect, ...denied]))
    return {
      ...found.report(),
      sentAtMonotonicMs,
      receivedAtMonotonicMs,
      durable: await this.isDurable(found.info!.aofEnabled),
    }
  }

  /** Only for a node that is ours or will be: no command that could write is run on another one. */
  async forbidden(): Promise<readonly string[]> {
    if (this.forbiddenAtConnect.length > 0) await this.loadScripts(await this.connected())
    const keys = [PERMISSION_KEY, MARKER_KEY]
    const inScripts = this.run(CHECK_PERMISSIONS, keys, [], permissionsReply)
    const evaluated = this.ask('EVAL', ['return 1', '0'], (reply) => integerReply('EVAL', reply, 1, 1))
    const found = await this.inTime(
      this.options.nodeTimeoutMs,
      Promise.all([
        inScripts.catch((error: Error) => deniedBy('EVALSHA', error)),
        evaluated.then(() => []).catch((error: Error) => deniedBy('EVAL', error)),
      ]),
    )
    return [...new Set([...this.forbiddenAtConnect, ...found.flat()])]
  }

  /** Asked once per connection; false if CONFIG is forbidden. */
  private async isDurable(aofEnabled: boolean): Promise<boolean> {
    if (!aofEnabled) return false
    this.appendfsync ??= await this.ask('CONFIG', ['GET', 'appendfsync'], (reply) =>
      settingReply(reply, 'appendfsync'),
    ).then(
      (setting) => setting ?? 'unknown',
      (error: Error) => {
        const reason = error instanceof ErrorReply ? errorReason(error.message) : null
        if (reason === 'no-permission' || reason === 'error') return 'unknown'
        throw error
      },
    )
    return this.appendfsync === 'always'
  }

  private async readAnswer<T>(answer: Promise<unknown>, read: (reply: unknown) => T): Promise<T> {
    try {
      return read(await answer)
    } catch (error) {
      if (error instanceof NotAnAnswer) this.client?.disconnect()
      throw this.describe(error as Error)
    }
  }

  /** A short message for a failed call, without ioredis's option names. */
  private describe(error: Error): Error {
    if (error instanceof NotAnAnswer || error instanceof BrokenFraming) return error
    if (
      /enableOfflineQueue|Connection is closed|aborted due to connection close|Stream isn't writeable/.test(
        error.message,
      )
    ) {
      if (this.lastError instanceof BrokenFraming) return this.lastError
      return new NodeCallFailed('the connection was lost', { cause: error })
    }
    const { address } = this.options
    if (error.name === 'ReplyError') {
      const { command } = error as Error & { command?: { name?: string } }
      const isAuth = command?.name?.toLowerCase() === 'auth'
      const said = printable(error.message)
      return new ErrorReply(isAuth ? passwordRefused(said, address) : withoutSecrets(said, address))
    }
    const { code } = error as NodeJS.ErrnoException
    const message = socketSentence(error) ?? withoutSecrets(printable(error.message), address)
    return Object.assign(new NodeCallFailed(message), code === undefined ? {} : { code })
  }

  /** Rejects when the node is overdue, but only after reading what arrived while our event loop was busy. */
  private async inTime<T>(limitMs: number, answer: Promise<T>): Promise<T> {
    const { timers } = this.options
    let timer: TimerHandle | null = null
    const overdue = new Promise<never>((_, reject) => {
      timer = timers.setTimeout(() => {
        timers.endOfTurn(() => {
          timers.endOfTurn(() => {
            reject(new NodeCallFailed(`it did not answer within ${limitMs} ms`))
          })
        })
      }, limitMs)
    })
    try {
      return await Promise.race([answer, overdue])
    } catch (error) {
      answer.catch(() => undefined) // reported above
      this.client?.disconnect() // a hung connection is useless for the next probe
      throw this.describe(error as Error)
    } finally {
      timers.clearTimeout(timer!)
    }
  }

  private async connected(): Promise<Redis> {
    if (this.closed) throw new Error(`node ${this.options.id} is closed`)
    // ioredis learns of a destroyed stream one turn later.
    if (this.client?.status === 'ready' && this.client.stream.writable) return this.client
    this.connecting ??= this.connect().finally(() => (this.connecting = null))
    return this.connecting
  }

  private async connect(): Promise<Redis> {
    this.client?.disconnect()
    this.appendfsync = null
    this.lastError = null
    const client = this.newClient()
    // connect() reports errors too, but not later ones: a broken control connection shows at the next probe.
    client.on('error', (error: Error) => (this.lastError ??= error))
    this.client = client
    try {
      await client.connect()
      await this.loadScripts(client)
      return client
    } catch (error) {
      client.disconnect()
      throw this.describe(this.lastError ?? (error as Error))
    }
  }

  private newClient(): Redis {
    const { host, port, tls, username, password } = this.options.address
    return new Redis({
      host,
      port,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(tls ? { tls: this.tlsOptions() } : {}),
      Connector: guardedConnector(this.options.timers),
      protocol: 2, // RESP2 has no pushes
      lazyConnect: true,
      enableOfflineQueue: false,
      enableReadyCheck: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      disableClientInfo: true,
      retryStrategy: () => null,
      connectTimeout: this.options.connectTimeoutMs,
      // Probes have their own, shorter timeout; this one limits listings and everything else.
      commandTimeout: 4 * Math.max(this.options.connectTimeoutMs, this.options.nodeTimeoutMs),
    })
  }

  /** If that is forbidden, the node is reported but still used: it may be readable. */
  private async loadScripts(client: Redis): Promise<void> {
    const denied = new Set<string>()
    const load = async (script: Script) => {
      try {
        loadedReply(await client.callBuffer('SCRIPT', 'LOAD', script.text), script.sha)
      } catch (error) {
        for (const name of deniedBy('SCRIPT LOAD', error as Error)) denied.add(name)
      }
    }
    await Promise.all(LOADED_SCRIPTS.map(load))
    this.forbiddenAtConnect = [...denied]
  }
}

function permissionsReply(reply: unknown): readonly string[] {
  return namesReply('check-permissions', reply, CHECKED_COMMANDS)
}

/** What the error says is forbidden; throws any other error. */
function deniedBy(command: string, error: Error): readonly string[] {
  const name = forbiddenBy(command, error.message)
  if (name === null) throw error
  return [name]
}

/** Passes the replies to their handlers; returns what is forbidden. Throws on any other error. */
function takeAnswers(questions: readonly Question[], answers: [Error | null, unknown][]): readonly string[] {
  const denied: string[] = []
  for (const [i, { command, args, take }] of questions.entries()) {
    const [error, reply] = answers[i]!
    if (!error) take(reply)
    else if (errorReason(error.message) === 'wrong-type') {
      throw new Error(`the node's key ${String(args[0])} is damaged: it holds another type; remove it there`)
    } else denied.push(...deniedBy(command, error))
  }
  return denied
}

/** The commands of a probe, and their results. */
class ProbeAnswers {
  info: ReturnType<typeof infoReply> | null = null
  private readonly peers: readonly string[]
  private timeMs = 0
  private marker: Buffer | null = null
  private topology: Buffer | null = null
  private decided: Buffer | null = null
  private syncedAt: Buffer | null = null
  private readonly hints = new Map<string, number>()

  constructor(peers: readonly string[]) {
    this.peers = peers
  }

  /** TIME comes first: the time for the other replies would make it look late. */
  questions(): Question[] {
    return [
      { command: 'TIME', args: [], take: (reply) => (this.timeMs = timeReply(reply)) },
      { command: 'GET', args: [MARKER_KEY], take: (reply) => (this.marker = bytesOrNil('GET', reply)) },
      { command: 'GET', args: [TOPOLOGY_KEY], take: (reply) => (this.topology = bytesOrNil('GET', reply)) },
      { command: 'GET', args: [DECIDED_KEY], take: (reply) => (this.decided = bytesOrNil('GET', reply)) },
      { command: 'GET', args: [SYNCED_AT_KEY], take: (reply) => (this.syncedAt = bytesOrNil('GET', reply)) },
      { command: 'INFO', args: [], take: (reply) => (this.info = infoReply(reply)) },
      ...this.peers.map((peer) => ({
        command: 'HLEN',
        args: [hintsKey(peer)],
        take: (reply: unknown) =>
          this.takeHints(peer, integerReply('HLEN', reply, 0, Number.MAX_SAFE_INTEGER)),
      })),
    ]
  }

  private takeHints(peer: string, count: number): void {
    if (count > 0) this.hints.set(peer, count)
  }

  refuseMode(): void {
    const { mode = '' } = this.info ?? {}
    if (mode !== 'cluster' && mode !== 'sentinel') return
    throw new Error(`the node runs in ${mode} mode; Rondo needs a plain Redis server`)
  }

  report(): Omit<NodeReport, 'sentAtMonotonicMs' | 'receivedAtMonotonicMs' | 'durable'> {
    const info = this.info!
    return {
      runId: info.runId,
      timeMs: this.timeMs,
      marker: this.marker,
      topology: this.topology,
      decided: this.decided,
      syncedAt: decodeSyncedAt(this.syncedAt),
      software: info.software,
      memoryUsedBytes: info.usedMemory,
      memoryLimitBytes: info.maxMemory,
      evictionPolicy: info.evictionPolicy,
      evictedKeys: info.evictedKeys,
      keys: info.keys,
      hints: this.hints,
    }
  }
}
