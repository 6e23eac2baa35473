/** A client that keeps values itself: what it has read, until it is told that it has changed (CLIENT TRACKING, RESP3). */
import { command, RawResp } from './raw-resp.ts'

const INVALIDATE = '>2\r\n$10\r\ninvalidate\r\n'

export class CachingClient {
  /** By command and key: the reply as it came. */
  readonly kept = new Map<string, string>()
  /** Keys in the order in which it was told of them; null = all. */
  readonly told: (string | null)[] = []
  private readonly connection: RawResp

  private constructor(connection: RawResp) {
    this.connection = connection
  }

  static async open(port: number, ...options: string[]): Promise<CachingClient> {
    const client = new CachingClient(await RawResp.open(port))
    await client.ask('HELLO', '3')
    const begun = await client.ask('CLIENT', 'TRACKING', 'ON', ...options)
    if (begun !== '+OK\r\n') throw new Error(begun)
    return client
  }

  /** The reply, as it comes; messages before it are obeyed. */
  async ask(...args: string[]): Promise<string> {
    this.connection.send(command(...args))
    return this.next()
  }

  /** Reads them all in one go, and keeps them. */
  async readAll(read: string, keys: readonly string[]): Promise<void> {
    this.connection.send(Buffer.concat(keys.map((key) => command(read, key))))
    for (const key of keys) this.kept.set(`${read} ${key}`, await this.next())
  }

  /** The next reply; messages before it are obeyed. */
  private async next(): Promise<string> {
    for (;;) {
      const reply = await this.connection.reply()
      if (!reply.startsWith(INVALIDATE)) return reply
      this.obey(reply.slice(INVALIDATE.length))
    }
  }

  /** From here, if it is kept. */
  async read(command: string, key: string): Promise<string> {
    const name = `${command} ${key}`
    const kept = this.kept.get(name)
    if (kept !== undefined) return kept
    const reply = await this.ask(command, key)
    if (!reply.startsWith('-')) this.kept.set(name, reply)
    return reply
  }

  keeps(key: string): boolean {
    return [...this.kept.keys()].some((name) => keyOf(name) === key)
  }

  /** Until it was told of this key (null: of all) since it was asked last. Fails after the limit. */
  async isTold(key: string | null, limitMs = 3000): Promise<void> {
    const endMs = performance.now() + limitMs
    for (;;) {
      await this.ask('PING')
      if (this.told.includes(key)) break
      if (performance.now() > endMs) throw new Error(`not told of ${key ?? 'all'} in ${limitMs} ms`)
    }
    this.told.length = 0
  }

  /** Until it keeps nothing of this key any more. Fails after the limit. */
  async drops(key: string, limitMs = 3000): Promise<void> {
    const endMs = performance.now() + limitMs
    while (this.keeps(key)) {
      if (performance.now() > endMs) throw new Error(`still keeps ${key} after ${limitMs} ms`)
      await this.ask('PING')
    }
  }

  close(): void {
    this.connection.close()
  }

  private obey(keys: string): void {
    if (keys.startsWith('_')) {
      this.kept.clear()
      this.told.push(null)
      return
    }
    // Keys of tests have no line breaks.
    for (const key of keys.split('\r\n').filter((_, i) => i > 0 && i % 2 === 0)) {
      this.told.push(key)
      for (const name of this.kept.keys()) if (keyOf(name) === key) this.kept.delete(name)
    }
  }
}

function keyOf(name: string): string {
  return name.slice(name.indexOf(' ') + 1)
}
