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
import { HEAD_WITH_PROMISE_BYTES, StoredRecord } from '../../core/codec.ts'
import { hintsKey, MARKER_KEY, PERMISSION_KEY, SYNCED_AT_KEY, TOPOLOGY_KEY } from '../../core/keys.ts'
import { printable } from '../../core/printable.ts'
import { decodeSyncedAt } from '../../core/synced-at.ts'
import {
  bytesOrNil,
  bytesReply,
  infoReply,
  type Info,
  integerReply,
  loadedReply,
  namesReply,
  NotAnAnswer,
  settingReply,
  timeReply,
} from './control-replies.ts'
import { BrokenFraming, guardedOptions } from './control-stream.ts'
import { errorReason } from './error-replies.ts'
import { NodeCallFailed, NotANode } from '../failures.ts'
import type { NodeReport } from '../node.ts'
import { CHECKED_COMMANDS, forbiddenBy, forbiddenSentence } from '../permissions.ts'
import type { RedisNodeOptions } from './options.ts'
import { ACCEPT, CHECK_PERMISSIONS, HINT, PEEK, PREPARE, STORE, STORE_ALL, type Script } from './scripts.ts'
import { passwordRefused, withoutSecrets } from './secrets.ts'
import { clientSentence, socketSentence } from './socket-errors.ts'

type Argument = string | Buffer

/** One command of a probe, and the handler of its reply. */
interface Question {
  readonly command: string
  readonly args: readonly Argument[]
  readonly take: (reply: unknown) => void
}

const LOADED_SCRIPTS = [STORE, PEEK, PREPARE, ACCEPT, STORE_ALL, HINT, CHECK_PERMISSIONS]

/** What to do about a server that is no plain one. */
const OTHER_MODES: Readonly<Record<string, string>> = {
  cluster:
    'a Redis Cluster is no member, neither whole nor one server of it: start plain Redis servers (cluster-enabled no), give ' +
    'larger ones more weight, and write what the Cluster holds through Rondo (docs/OPERATING.md, From a Redis Cluster)',
  sentinel: 'it holds no keys: give the address of the Redis that it watches',
}

/** The node replied with an error. */
class ErrorReply extends NodeCallFailed {}

export class ControlPath {
  private readonly options: RedisNodeOptions
  private readonly tlsOptions: () => ConnectionOptions
  private client: Redis | null = null
  private disconnected: Redis | null = null
  private connecting: Promise<Redis> | null = null
  private closed = false
  /** The reason why the connection ended. */
  private lastError: Error | null = null
  private appendfsync: string | null = null
  /** Where the client is connected. */
  private place = ''
  /** Bytes of TOPOLOGY_KEY, as of the last probe: long, and fetched again only if their head is another one. */
  private register: Buffer | null = null
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
    this.disconnect()
  }

  /** Once, however many calls fail with it: ioredis adds a listener to its stream each time. */
  private disconnect(): void {
    const { client } = this
    if (!client || client === this.disconnected) return
    this.disconnected = client
    client.disconnect()
  }

  async probe(peers: readonly string[]): Promise<NodeReport> {
    const { connectTimeoutMs, nodeTimeoutMs, clock } = this.options
    const client = await this.inTime(connectTimeoutMs + nodeTimeoutMs, this.connected())
    const found = new ProbeAnswers(peers, this.register)
    const questions = found.questions()
    const sentAtMonotonicMs = clock.monotonicMs()
    const answers = await this.answersTo(client, questions)
    const receivedAtMonotonicMs = clock.monotonicMs()
    const denied = [...(await this.take(questions, answers))]
    const further = found.furtherQuestions()
    if (further.length > 0) denied.push(...(await this.take(further, await this.answersTo(client, further))))
    if (denied.length > 0) throw new Error(forbiddenSentence([...this.forbiddenAtConnect, ...denied]))
    this.register = found.topology
    return {
      ...found.report(),
      sentAtMonotonicMs,
      receivedAtMonotonicMs,
      durable: await this.isDurable(found.info!.aofEnabled),
    }
  }

  private answersTo(client: Redis, questions: readonly Question[]): Promise<unknown> {
    const pipeline = client.pipeline()
    for (const { command, args } of questions) pipeline.callBuffer(command, ...args)
    return this.inTime(this.options.nodeTimeoutMs, pipeline.exec())
  }

  /** Returns what is forbidden. */
  private take(questions: readonly Question[], answers: unknown): Promise<readonly string[]> {
    return this.readAnswer(Promise.resolve(answers), (replies) =>
      takeAnswers(questions, replies as [Error | null, unknown][]),
    )
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
      if (error instanceof NotAnAnswer) this.disconnect()
      throw this.describe(error as Error)
    }
  }

  /** A short message for a failed call, without ioredis's option names. */
  private describe(error: Error): Error {
    if ([NotAnAnswer, BrokenFraming, NotANode].some((kind) => error instanceof kind)) return error
    const ofClient = clientSentence(error, this.commandTimeoutMs)
    if (ofClient !== null) {
      if (this.lastError instanceof BrokenFraming) return this.lastError
      return new NodeCallFailed(ofClient, { cause: error })
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
      this.disconnect() // a hung connection is useless for the next probe
      throw this.describe(error as Error)
    } finally {
      timers.clearTimeout(timer!)
    }
  }

  private async connected(): Promise<Redis> {
    if (this.closed) throw new Error(`node ${this.options.id} is closed`)
    // ioredis learns of a destroyed stream one turn later.
    const isSame = this.place === placeOf(this.options.address)
    if (isSame && this.client?.status === 'ready' && this.client.stream.writable) return this.client
    this.connecting ??= this.connect().finally(() => (this.connecting = null))
    return this.connecting
  }

  private async connect(): Promise<Redis> {
    this.disconnect()
    this.appendfsync = null
    this.lastError = null
    await this.options.locate?.()
    this.place = placeOf(this.options.address)
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

  /** Probes have their own, shorter timeout; this one limits listings and everything else. */
  private get commandTimeoutMs(): number {
    return 4 * Math.max(this.options.connectTimeoutMs, this.options.nodeTimeoutMs)
  }

  private newClient(): Redis {
    const { host, port, tls, username, password } = this.options.address
    return new Redis({
      host,
      port,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(tls ? { tls: this.tlsOptions() } : {}),
      ...guardedOptions(this.options.timers),
      connectTimeout: this.options.connectTimeoutMs,
      commandTimeout: this.commandTimeoutMs,
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

function placeOf({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${host} ${port}`
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
  /** Null until it is fetched, too. */
  topology: Buffer | null = null
  private readonly peers: readonly string[]
  private readonly known: Buffer | null
  private timeMs = 0
  private marker: Buffer | null = null
  private syncedAt: Buffer | null = null
  private readonly hints = new Map<string, number>()
  private hintedPeers = 0

  /** @param known what the register held at the last probe */
  constructor(peers: readonly string[], known: Buffer | null) {
    this.peers = peers
    this.known = known
  }

  /**
   * TIME comes first: the time for the other replies would make it look late. INFO comes before keys are read, which a
   * server in another mode refuses with errors of its own.
   */
  questions(): Question[] {
    return [
      { command: 'TIME', args: [], take: (reply) => (this.timeMs = timeReply(reply)) },
      { command: 'INFO', args: [], take: (reply) => this.takeInfo(infoReply(reply)) },
      { command: 'GET', args: [MARKER_KEY], take: (reply) => (this.marker = bytesOrNil('GET', reply)) },
      {
        command: 'GETRANGE',
        args: [TOPOLOGY_KEY, '0', String(HEAD_WITH_PROMISE_BYTES - 1)],
        take: (reply) => this.takeHead(bytesReply(reply)),
      },
      { command: 'GET', args: [SYNCED_AT_KEY], take: (reply) => (this.syncedAt = bytesOrNil('GET', reply)) },
      ...(this.peers.length === 0 ? [] : [this.hintsQuestion()]),
    ]
  }

  /** One for all: as a rule there are no hints, and one command for each peer would be most of what a node does. */
  private hintsQuestion(): Question {
    return {
      command: 'EXISTS',
      args: this.peers.map(hintsKey),
      take: (reply) => (this.hintedPeers = integerReply('EXISTS', reply, 0, this.peers.length)),
    }
  }

  /** A record with the same head is the same: no two are written under one version. */
  private takeHead(head: Buffer | null): void {
    const { known } = this
    if (!head || !known?.subarray(0, HEAD_WITH_PROMISE_BYTES).equals(head)) return
    if (new StoredRecord(known).versioned) this.topology = known
  }

  /** The register, if it has changed; and for whom the hints are, and how many, where there are any. */
  furtherQuestions(): Question[] {
    const register: Question = {
      command: 'GET',
      args: [TOPOLOGY_KEY],
      take: (reply) => (this.topology = bytesOrNil('GET', reply)),
    }
    const hints = this.peers.map((peer): Question => ({
      command: 'HLEN',
      args: [hintsKey(peer)],
      take: (reply) => this.takeHints(peer, integerReply('HLEN', reply, 0, Number.MAX_SAFE_INTEGER)),
    }))
    return [...(this.topology ? [] : [register]), ...(this.hintedPeers > 0 ? hints : [])]
  }

  private takeHints(peer: string, count: number): void {
    if (count > 0) this.hints.set(peer, count)
  }

  private takeInfo(info: Info): void {
    this.info = info
    const why = OTHER_MODES[info.mode]
    if (why !== undefined) throw new NotANode(`the node runs in ${info.mode} mode; ${why}`)
  }

  report(): Omit<NodeReport, 'sentAtMonotonicMs' | 'receivedAtMonotonicMs' | 'durable'> {
    const info = this.info!
    return {
      runId: info.runId,
      replid: info.replid,
      timeMs: this.timeMs,
      marker: this.marker,
      topology: this.topology,
      syncedAt: decodeSyncedAt(this.syncedAt),
      software: info.software,
      isReplica: info.isReplica,
      memoryUsedBytes: info.usedMemory,
      memoryLimitBytes: info.maxMemory,
      evictionPolicy: info.evictionPolicy,
      evictedKeys: info.evictedKeys,
      keys: info.keys,
      hints: this.hints,
    }
  }
}
