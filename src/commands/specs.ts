/**
 * The commands on keys: their COMMAND INFO, as in Redis 7, and the function that makes their step. Replies and
 * errors are exactly those of Redis 7.0, except for two limits: a value has at most `maxValueBytes` (in Redis
 * proto-max-bulk-len), and an expiry time that a record's header cannot hold is capped. What is newer is as in Redis 8.4:
 * IFEQ and related options of SET, DELEX, DIGEST, MSETEX; and as in Valkey 9: DELIFEQ.
 */
import { bitfield, bitfieldRo } from './strings/bitfield.ts'
import { bitop } from './strings/bitop.ts'
import { bitcount, bitpos, getbit, setbit } from './strings/bits.ts'
import { delex, delifeq, digest } from './strings/conditions.ts'
import {
  expire,
  expireat,
  expiretime,
  persist,
  pexpire,
  pexpireat,
  pexpiretime,
  pttl,
  ttl,
} from './keys/expiry.ts'
import { dump, restore } from './dump/dump.ts'
import { move } from './keys/database.ts'
import { copy, del, exists, rename, renamenx, type } from './keys/keyspace.ts'
import { pfadd, pfcount, pfmerge } from './hyperloglog/hyperloglog.ts'
import { lcs } from './strings/lcs.ts'
import { decr, decrby, incr, incrby, incrbyfloat } from './strings/numbers.ts'
import type { CommandSpec } from './step.ts'
import {
  allKeys,
  countedPairs,
  keysFrom,
  LEAN_WRITE,
  oneKey,
  pairsOfKeyAndValue,
  READ,
  SLOW_LEAN_WRITE,
  SLOW_READ,
  SLOW_WRITE,
  twoKeys,
  WRITE,
} from './spec-forms.ts'
import { BLOCKING_STEPS, COLLECTION_STEPS } from './collections/specs.ts'
import { STREAM_STEPS } from './streams/specs.ts'
import {
  append,
  get,
  getdel,
  getex,
  getrange,
  getset,
  mget,
  mset,
  msetex,
  msetnx,
  psetex,
  set,
  setex,
  setnx,
  setrange,
  strlen,
} from './strings/values.ts'

/** By lower-case name. */
export const STEPS: Readonly<Record<string, CommandSpec>> = {
  get: oneKey(2, READ, get),
  set: oneKey(-3, SLOW_WRITE, set),
  setex: oneKey(4, SLOW_WRITE, setex),
  psetex: oneKey(4, SLOW_WRITE, psetex),
  setnx: oneKey(3, WRITE, setnx),
  getset: oneKey(3, WRITE, getset),
  getdel: oneKey(2, LEAN_WRITE, getdel),
  getex: oneKey(-2, LEAN_WRITE, getex),
  mget: allKeys(-2, READ, mget),
  mset: pairsOfKeyAndValue(-3, SLOW_WRITE, mset),
  msetnx: pairsOfKeyAndValue(-3, SLOW_WRITE, msetnx),
  msetex: countedPairs(-4, [...SLOW_WRITE, 'movablekeys'], msetex),
  delex: oneKey(-2, LEAN_WRITE, delex),
  delifeq: oneKey(3, SLOW_LEAN_WRITE, delifeq),
  digest: oneKey(2, READ, digest),
  append: oneKey(3, WRITE, append),
  strlen: oneKey(2, READ, strlen),
  getrange: oneKey(4, SLOW_READ, getrange),
  substr: oneKey(4, SLOW_READ, getrange),
  setrange: oneKey(4, SLOW_WRITE, setrange),
  lcs: twoKeys(-3, SLOW_READ, lcs),

  incr: oneKey(2, WRITE, incr),
  decr: oneKey(2, WRITE, decr),
  incrby: oneKey(3, WRITE, incrby),
  decrby: oneKey(3, WRITE, decrby),
  incrbyfloat: oneKey(3, WRITE, incrbyfloat),

  getbit: oneKey(3, READ, getbit),
  setbit: oneKey(4, SLOW_WRITE, setbit),
  bitcount: oneKey(-2, SLOW_READ, bitcount),
  bitpos: oneKey(-3, SLOW_READ, bitpos),

  bitop: keysFrom(2, -4, SLOW_WRITE, bitop),
  bitfield: oneKey(-2, SLOW_WRITE, bitfield),
  bitfield_ro: oneKey(-2, READ, bitfieldRo),

  pfadd: { ...oneKey(-2, WRITE, pfadd), manyOperands: true },
  pfcount: allKeys(-2, SLOW_READ, pfcount),
  pfmerge: allKeys(-2, SLOW_WRITE, pfmerge),

  del: allKeys(-2, SLOW_LEAN_WRITE, del),
  unlink: allKeys(-2, LEAN_WRITE, del),
  exists: allKeys(-2, READ, exists),
  touch: allKeys(-2, READ, exists),
  type: oneKey(2, READ, type),
  rename: twoKeys(3, SLOW_LEAN_WRITE, rename),
  renamenx: twoKeys(3, LEAN_WRITE, renamenx),
  copy: twoKeys(-3, SLOW_WRITE, copy),
  move: oneKey(3, LEAN_WRITE, move),
  dump: oneKey(2, SLOW_READ, dump),
  restore: oneKey(-4, SLOW_WRITE, restore),

  expire: oneKey(-3, LEAN_WRITE, expire),
  pexpire: oneKey(-3, LEAN_WRITE, pexpire),
  expireat: oneKey(-3, LEAN_WRITE, expireat),
  pexpireat: oneKey(-3, LEAN_WRITE, pexpireat),
  persist: oneKey(2, LEAN_WRITE, persist),
  ttl: oneKey(2, READ, ttl),
  pttl: oneKey(2, READ, pttl),
  expiretime: oneKey(2, READ, expiretime),
  pexpiretime: oneKey(2, READ, pexpiretime),

  ...COLLECTION_STEPS,
  ...BLOCKING_STEPS,
  ...STREAM_STEPS,
}
