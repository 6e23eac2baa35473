/**
 * Adds a meter to a WebAssembly module: it exports a global `fuel`, of which every call of a function and every turn of a
 * loop takes one. Without any left the module traps. So a run comes to its end after a known time whatever it does, inside
 * C functions as well (patterns, sorting, copying bytes), which the hook of Lua's instructions does not see.
 *
 *   function:  fuel ← fuel − 1; if fuel < 0: trap; its code, in which each `loop` begins with the same
 *
 * Memory that is added costs as well, by its size: the system has to find it. Between two of these there is code without repetition: some hundred instructions at most. Whatever else could take
 * long in one instruction (bulk memory), or is not known here, is refused when the module is read.
 */

const HEADER_BYTES = 8
const SECTION = { import: 2, global: 6, export: 7, code: 10 } as const
const IMPORTED_GLOBAL = 3
const EXPORTED_GLOBAL = 3
const I32 = 0x7f
const MUTABLE = 1
const FUEL = 'fuel'

const OP = {
  unreachable: 0x00,
  loop: 0x03,
  if: 0x04,
  end: 0x0b,
  getGlobal: 0x23,
  setGlobal: 0x24,
  growMemory: 0x40,
  constI32: 0x41,
  lessI32: 0x48,
  subtractI32: 0x6b,
  multiplyI32: 0x6c,
} as const
const NO_RESULT = 0x40
/** A page has 64 KiB. */
const STEPS_A_PAGE = 500

/** How what follows an operation is read: so many numbers (LEB128), or so many bytes. */
const NUMBERS = new Map<number, number>()
const BYTES = new Map<number, number>([
  [0x43, 4],
  [0x44, 8],
])
const TABLE_OF_BRANCHES = 0x0e
const SATURATING = 0xfc
const LAST_SATURATING = 7

function known(from: number, to: number, numbers: number): void {
  for (let op = from; op <= to; op++) NUMBERS.set(op, numbers)
}

known(0x00, 0x01, 0) // unreachable, nop
known(0x02, 0x04, 1) // block, loop, if
known(0x05, 0x05, 0) // else
known(0x06, 0x09, 1) // try, catch, throw, rethrow
known(0x0b, 0x0b, 0) // end
known(0x0c, 0x0d, 1) // br, br_if
known(0x0f, 0x0f, 0) // return
known(0x10, 0x10, 1) // call
known(0x11, 0x11, 2) // call_indirect
known(0x18, 0x18, 1) // delegate
known(0x19, 0x1b, 0) // catch_all, drop, select
known(0x20, 0x24, 1) // locals, globals
known(0x28, 0x3e, 2) // loads, stores
known(0x3f, 0x42, 1) // memory.size, memory.grow, constants
known(0x45, 0xc4, 0) // numeric

/** @throws Error if the module has something that cannot be metered */
export function metered(module: Uint8Array): Uint8Array<ArrayBuffer> {
  const reader = new Reader(module, HEADER_BYTES)
  const out = new Bytes(module.length * 2)
  out.add(module.subarray(0, HEADER_BYTES))
  let fuel = -1
  while (reader.at < module.length) {
    const id = reader.byte()
    const end = reader.number() + reader.at
    if (id === SECTION.import) noGlobalIn(new Reader(module, reader.at))
    if (id === SECTION.global) {
      const added = [I32, MUTABLE, OP.constI32, 0, OP.end]
      // The fuel, and a place for the size of added memory.
      fuel = longer(out, id, module.subarray(reader.at, end), [...added, ...added], 2)
    } else if (id === SECTION.export) {
      const name = Buffer.from(FUEL)
      longer(
        out,
        id,
        module.subarray(reader.at, end),
        [name.length, ...name, EXPORTED_GLOBAL, ...leb(fuel)],
        1,
      )
    } else if (id === SECTION.code) {
      if (fuel === -1) throw new Error('metered: a module without globals')
      section(out, id, code(new Reader(module, reader.at), meterOf(fuel)))
    } else section(out, id, module.subarray(reader.at, end))
    reader.at = end
  }
  return out.written
}

interface Meter {
  readonly step: Uint8Array
  /** In front of an operation that adds memory. */
  readonly memory: Uint8Array
}

function meterOf(fuelAt: number): Meter {
  const fuel = leb(fuelAt)
  const pages = leb(fuelAt + 1)
  const take = (cost: readonly number[]) => [
    ...[OP.getGlobal, ...fuel, ...cost, OP.subtractI32, OP.setGlobal, ...fuel],
    ...[OP.getGlobal, ...fuel, OP.constI32, 0, OP.lessI32, OP.if, NO_RESULT, OP.unreachable, OP.end],
  ]
  const cost = [OP.getGlobal, ...pages, OP.constI32, ...signedLeb(STEPS_A_PAGE), OP.multiplyI32]
  return {
    step: Uint8Array.from(take([OP.constI32, 1])),
    memory: Uint8Array.from([OP.setGlobal, ...pages, ...take(cost), OP.getGlobal, ...pages]),
  }
}

function code(reader: Reader, meter: Meter): Uint8Array {
  const out = new Bytes(reader.module.length * 2)
  const count = reader.number()
  out.add(leb(count))
  for (let i = 0; i < count; i++) {
    const end = reader.number() + reader.at
    const body = bodyOf(reader, end, meter)
    out.add(leb(body.length))
    out.add(body)
  }
  return out.written
}

function bodyOf(reader: Reader, end: number, meter: Meter): Uint8Array {
  const out = new Bytes(2 * (end - reader.at) + meter.step.length)
  const from = reader.at
  for (let groups = reader.number(); groups > 0; groups--) {
    reader.number()
    reader.byte()
  }
  out.add(reader.module.subarray(from, reader.at))
  out.add(meter.step)
  let copied = reader.at
  const copyTo = (to: number) => {
    out.add(reader.module.subarray(copied, to))
    copied = to
  }
  while (reader.at < end) {
    const op = reader.byte()
    if (op === OP.growMemory) {
      copyTo(reader.at - 1)
      out.add(meter.memory)
    }
    reader.skipOperands(op)
    if (op !== OP.loop) continue
    copyTo(reader.at)
    out.add(meter.step)
  }
  out.add(reader.module.subarray(copied, end))
  return out.written
}

/** An imported global would shift the places of those that are defined. */
function noGlobalIn(reader: Reader): void {
  for (let count = reader.number(); count > 0; count--) {
    reader.skip(reader.number())
    reader.skip(reader.number())
    const kind = reader.byte()
    if (kind === 0) reader.number()
    else if (kind === 2) {
      if (reader.byte() % 2 === 1) reader.number()
      reader.number()
    } else throw new Error(`metered: an import of kind ${kind}${kind === IMPORTED_GLOBAL ? ' (global)' : ''}`)
  }
}

/** A section of several, with so many more. @returns how many there were */
function longer(out: Bytes, id: number, content: Uint8Array, added: readonly number[], more: number): number {
  const reader = new Reader(content, 0)
  const count = reader.number()
  section(out, id, Uint8Array.from([...leb(count + more), ...content.subarray(reader.at), ...added]))
  return count
}

function section(out: Bytes, id: number, content: Uint8Array): void {
  out.add(Uint8Array.from([id, ...leb(content.length)]))
  out.add(content)
}

function leb(value: number): Uint8Array {
  const bytes: number[] = []
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) {
      bytes.push(rest)
      return Uint8Array.from(bytes)
    }
    bytes.push((rest & 0x7f) | 0x80)
  }
}

/** Of a positive number. */
function signedLeb(value: number): Uint8Array {
  const bytes: number[] = []
  for (let rest = value; ; rest >>= 7) {
    if (rest < 0x40) {
      bytes.push(rest)
      return Uint8Array.from(bytes)
    }
    bytes.push((rest & 0x7f) | 0x80)
  }
}

class Reader {
  readonly module: Uint8Array
  at: number

  constructor(module: Uint8Array, at: number) {
    this.module = module
    this.at = at
  }

  byte(): number {
    return this.module[this.at++]!
  }

  skip(bytes: number): void {
    this.at += bytes
  }

  /** Unsigned LEB128. */
  number(): number {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte()
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
    }
  }

  skipOperands(op: number): void {
    const bytes = BYTES.get(op)
    if (bytes !== undefined) {
      this.at += bytes
      return
    }
    if (op === TABLE_OF_BRANCHES) this.skipNumbers(this.number() + 1)
    else if (op === SATURATING) {
      if (this.number() > LAST_SATURATING) throw new Error('metered: an operation on bulk memory')
    } else {
      const numbers = NUMBERS.get(op)
      if (numbers === undefined) throw new Error(`metered: an unknown operation ${op}`)
      this.skipNumbers(numbers)
    }
  }

  private skipNumbers(count: number): void {
    for (let i = 0; i < count; i++) while (this.byte() >= 0x80);
  }
}

class Bytes {
  private bytes: Uint8Array<ArrayBuffer>
  private length = 0

  constructor(room: number) {
    this.bytes = new Uint8Array(room)
  }

  add(part: Uint8Array): void {
    if (this.length + part.length > this.bytes.length) {
      const grown = new Uint8Array(2 * (this.length + part.length))
      grown.set(this.bytes.subarray(0, this.length))
      this.bytes = grown
    }
    this.bytes.set(part, this.length)
    this.length += part.length
  }

  get written(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.length)
  }
}
