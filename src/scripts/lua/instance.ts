/**
 * One WebAssembly instance of Lua: its memory, and calls in both directions. After an error thrown through it (a trap,
 * no stack left, an exception of the host) its state is undefined, and it must be thrown away.
 */
import { createHash } from 'node:crypto'
import { Writer } from './wire.ts'
import type { LuaReply } from './values.ts'

const PAGE_BYTES = 65_536
/** The module's data and stack; a larger number than the module declares. */
const FIRST_PAGES = 32
/** Buffers that the limit of Lua does not count: cjson's, and what the allocator loses. */
const EXTRA_PAGES = 64
const KEPT_BYTES = 65_536
const MOST_FUEL = 2 ** 31 - 1
/** What a call of the host takes of the fuel: some microseconds, as so many steps do; and by what it reads and answers. */
const STEPS_A_CALL = 150
const BYTES_A_STEP = 32

/** What a run asks of its caller. */
export interface Host {
  call(command: Buffer[], resp: 2 | 3): LuaReply
  mayRun(command: Buffer[]): boolean | null
  log(level: number, message: Buffer): void
  tick(): void
}

interface Exports {
  __wasm_call_ctors(): void
  open(limitBytes: number, version: number): number
  input_room(length: number): number
  reply_room(length: number): number
  output_at(): number
  output_length(): number
  used_bytes(): number
  seed(value: number): void
  collect(): void
  compile(kind: number, length: number): number
  forget(kind: number, place: number): void
  run_script(place: number, keys: number, args: number, instructionsATick: number): number
  load_library(place: number, instructionsATick: number): number
  run_function(place: number, keys: number, args: number, instructionsATick: number): number
}

/** Which of the two interpreters. */
export const SCRIPTS = 0
export const FUNCTIONS = 1

export class LuaInstance {
  readonly calls: Exports
  /** Of the run at hand. */
  host: Host | null = null
  /** Of a metered module (metered.ts). */
  readonly fuel: { value: number } | null
  private readonly memory: WebAssembly.Memory
  private bytes: Buffer
  private readonly writer = new Writer()

  constructor(module: WebAssembly.Module, maxMemoryBytes: number, version: number) {
    const maximum = FIRST_PAGES + EXTRA_PAGES + Math.ceil(maxMemoryBytes / PAGE_BYTES)
    this.memory = new WebAssembly.Memory({ initial: FIRST_PAGES, maximum })
    this.bytes = Buffer.from(this.memory.buffer)
    const instance = new WebAssembly.Instance(module, {
      env: { memory: this.memory },
      rondo: {
        call: (resp: 2 | 3, at: number, length: number, count: number) => this.call(resp, at, length, count),
        may_run: (at: number, length: number, count: number) => this.mayRun(at, length, count),
        log: (level: number, at: number, length: number) => {
          this.spend(length)
          this.host!.log(level, this.copy(at, length))
        },
        sha1: (at: number, length: number, hexAt: number) => {
          this.spend(length)
          const hex = createHash('sha1').update(this.view(at, length)).digest('hex')
          this.view(hexAt, hex.length).write(hex, 'latin1')
        },
        tick: () => {
          this.host!.tick()
        },
      },
    })
    this.calls = instance.exports as unknown as Exports
    this.fuel = (instance.exports.fuel as { value: number } | undefined) ?? null
    this.refuel(Infinity)
    this.calls.__wasm_call_ctors()
    if (this.calls.open(maxMemoryBytes, version) !== 1) throw new Error('lua: not enough memory to start')
  }

  get memoryBytes(): number {
    return this.memory.buffer.byteLength
  }

  /** From now on it traps after so many steps (metered.ts). */
  refuel(steps: number): void {
    if (this.fuel) this.fuel.value = Math.min(steps, MOST_FUEL)
  }

  /** Writes the parts one after the other; returns their length, or -1 without memory. */
  put(parts: readonly Buffer[]): number {
    const length = parts.reduce((sum, part) => sum + part.length, 0)
    let at = this.calls.input_room(length)
    if (at === 0) return -1
    const bytes = this.all()
    for (const part of parts) at += part.copy(bytes, at)
    return length
  }

  /** What the last call left; valid until the next. */
  output(): Buffer {
    return this.view(this.calls.output_at(), this.calls.output_length())
  }

  private call(resp: 2 | 3, at: number, length: number, count: number): number {
    this.spend(length)
    const reply = this.host!.call(this.command(at, length, count), resp)
    this.writer.reply(reply, resp)
    const { written } = this.writer
    this.take(written.length / BYTES_A_STEP)
    const room = this.calls.reply_room(written.length)
    if (room !== 0) written.copy(this.all(), room)
    this.writer.clear(KEPT_BYTES)
    return room === 0 ? -1 : written.length
  }

  private mayRun(at: number, length: number, count: number): number {
    this.spend(length)
    const answer = this.host!.mayRun(this.command(at, length, count))
    return answer === null ? -1 : Number(answer)
  }

  /** For a call of the host that reads so many bytes. */
  private spend(bytes: number): void {
    this.take(STEPS_A_CALL + bytes / BYTES_A_STEP)
  }

  /** @throws Error without any left: what costs it is not begun */
  private take(steps: number): void {
    if (!this.fuel) return
    this.fuel.value -= Math.ceil(steps)
    if (this.fuel.value < 0) throw new Error('lua: no fuel is left')
  }

  /** The packed arguments, as copies in one buffer. */
  private command(at: number, length: number, count: number): Buffer[] {
    const packed = this.copy(at, length)
    const command: Buffer[] = []
    for (let i = 0, from = 0; i < count; i++) {
      const to = from + 4 + packed.readUInt32LE(from)
      command.push(packed.subarray(from + 4, to))
      from = to
    }
    return command
  }

  private copy(at: number, length: number): Buffer {
    return Buffer.from(this.view(at, length))
  }

  private view(at: number, length: number): Buffer {
    return this.all().subarray(at, at + length)
  }

  /** The whole memory. When it grows, it is another buffer. */
  private all(): Buffer {
    if (this.bytes.buffer !== this.memory.buffer) this.bytes = Buffer.from(this.memory.buffer)
    return this.bytes
  }
}
