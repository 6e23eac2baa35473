/** What goes in and out of a script: the types of RESP3, of which RESP2 has some. Bytes are never decoded. */

/** A simple string: `{ok=}` in Lua. */
export class LuaStatus {
  readonly text: Buffer
  constructor(text: Buffer) {
    this.text = text
  }
}

/** An error: `{err=}` in Lua. The text begins with its code (`ERR`, `WRONGTYPE`), without the dash. */
export class LuaError {
  readonly text: Buffer
  constructor(text: Buffer) {
    this.text = text
  }
}

/** `{map=}` in Lua. */
export class LuaMap {
  readonly entries: readonly (readonly [LuaReply, LuaReply])[]
  constructor(entries: readonly (readonly [LuaReply, LuaReply])[]) {
    this.entries = entries
  }
}

/** `{set=}` in Lua. */
export class LuaSet {
  readonly items: readonly LuaReply[]
  constructor(items: readonly LuaReply[]) {
    this.items = items
  }
}

/** `{double=}` in Lua; the text is how Redis writes it, in both protocols. */
export class LuaDouble {
  readonly value: number
  readonly text: string
  constructor(value: number, text: string) {
    this.value = value
    this.text = text
  }
}

/** `{big_number=}` in Lua. */
export class LuaBigNumber {
  readonly digits: Buffer
  constructor(digits: Buffer) {
    this.digits = digits
  }
}

/** `{verbatim_string={format=, string=}}` in Lua; the format has three characters. */
export class LuaVerbatim {
  readonly format: string
  readonly text: Buffer
  constructor(format: string, text: Buffer) {
    this.format = format
    this.text = text
  }
}

/**
 * Buffer: a bulk. number, bigint: an integer (bigint beyond what a number holds exactly). null: a null.
 * boolean: only of RESP3; from a script only after `redis.setresp(3)`. To a client of RESP2 it is 1 or 0.
 */
export type LuaReply =
  | Buffer
  | number
  | bigint
  | boolean
  | null
  | LuaStatus
  | LuaError
  | LuaMap
  | LuaSet
  | LuaDouble
  | LuaBigNumber
  | LuaVerbatim
  | readonly LuaReply[]
