/** The commands on collections, as specs.ts has those on strings. */
import {
  allKeys,
  LEAN_WRITE,
  oneKey,
  READ,
  SLOW_LEAN_WRITE,
  SLOW_READ,
  SLOW_WRITE,
  twoKeys,
  WRITE,
} from '../spec-forms.ts'
import type { CommandSpec, StepMaker, StoreOption } from '../step.ts'
import * as blocking from './blocking.ts'
import * as geo from './geo.ts'
import * as hashes from './hashes.ts'
import * as lists from './lists.ts'
import * as setOperations from './set-operations.ts'
import * as sets from './sets.ts'
import * as sorting from './sort.ts'
import * as sortedOperations from './sorted-operations.ts'
import * as sortedRanges from './sorted-ranges.ts'
import * as sortedSets from './sorted-sets.ts'

const HASHES: Readonly<Record<string, CommandSpec>> = {
  hset: manyOperands(oneKey(-4, WRITE, hashes.hset)),
  hsetnx: oneKey(4, WRITE, hashes.hsetnx),
  hmset: manyOperands(oneKey(-4, WRITE, hashes.hmset)),
  hget: oneKey(3, READ, hashes.hget),
  hmget: manyOperands(oneKey(-3, READ, hashes.hmget)),
  hgetall: oneKey(2, SLOW_READ, hashes.hgetall),
  hdel: manyOperands(oneKey(-3, LEAN_WRITE, hashes.hdel)),
  hexists: oneKey(3, READ, hashes.hexists),
  hlen: oneKey(2, READ, hashes.hlen),
  hkeys: oneKey(2, SLOW_READ, hashes.hkeys),
  hvals: oneKey(2, SLOW_READ, hashes.hvals),
  hstrlen: oneKey(3, READ, hashes.hstrlen),
  hincrby: oneKey(4, WRITE, hashes.hincrby),
  hincrbyfloat: oneKey(4, WRITE, hashes.hincrbyfloat),
  hrandfield: oneKey(-2, SLOW_READ, hashes.hrandfield),
  hscan: oneKey(-3, SLOW_READ, hashes.hscan),
}

const SETS: Readonly<Record<string, CommandSpec>> = {
  sadd: manyOperands(oneKey(-3, WRITE, sets.sadd)),
  srem: manyOperands(oneKey(-3, LEAN_WRITE, sets.srem)),
  smembers: oneKey(2, SLOW_READ, sets.smembers),
  sismember: oneKey(3, READ, sets.sismember),
  smismember: manyOperands(oneKey(-3, READ, sets.smismember)),
  scard: oneKey(2, READ, sets.scard),
  spop: oneKey(-2, LEAN_WRITE, sets.spop),
  srandmember: oneKey(-2, SLOW_READ, sets.srandmember),
  smove: twoKeys(4, LEAN_WRITE, sets.smove),
  sscan: oneKey(-3, SLOW_READ, sets.sscan),
  sinter: allKeys(-2, SLOW_READ, setOperations.sinter),
  sintercard: counted(-3, SLOW_READ, setOperations.sintercard),
  sunion: allKeys(-2, SLOW_READ, setOperations.sunion),
  sdiff: allKeys(-2, SLOW_READ, setOperations.sdiff),
  sinterstore: allKeys(-3, SLOW_WRITE, setOperations.sinterstore),
  sunionstore: allKeys(-3, SLOW_WRITE, setOperations.sunionstore),
  sdiffstore: allKeys(-3, SLOW_WRITE, setOperations.sdiffstore),
}

const LISTS: Readonly<Record<string, CommandSpec>> = {
  lpush: manyOperands(oneKey(-3, WRITE, lists.lpush)),
  rpush: manyOperands(oneKey(-3, WRITE, lists.rpush)),
  lpushx: manyOperands(oneKey(-3, WRITE, lists.lpushx)),
  rpushx: manyOperands(oneKey(-3, WRITE, lists.rpushx)),
  lpop: oneKey(-2, LEAN_WRITE, lists.lpop),
  rpop: oneKey(-2, LEAN_WRITE, lists.rpop),
  llen: oneKey(2, READ, lists.llen),
  lrange: oneKey(4, SLOW_READ, lists.lrange),
  lindex: oneKey(3, SLOW_READ, lists.lindex),
  lset: oneKey(4, SLOW_WRITE, lists.lset),
  linsert: oneKey(5, SLOW_WRITE, lists.linsert),
  lrem: oneKey(4, SLOW_LEAN_WRITE, lists.lrem),
  ltrim: oneKey(4, SLOW_LEAN_WRITE, lists.ltrim),
  lpos: oneKey(-3, SLOW_READ, lists.lpos),
  lmove: twoKeys(5, SLOW_WRITE, lists.lmove),
  rpoplpush: twoKeys(3, SLOW_WRITE, lists.rpoplpush),
  lmpop: counted(-4, SLOW_LEAN_WRITE, lists.lmpop),
}

const SORTED_SETS: Readonly<Record<string, CommandSpec>> = {
  zadd: manyOperands(oneKey(-4, WRITE, sortedSets.zadd)),
  zincrby: oneKey(4, WRITE, sortedSets.zincrby),
  zrem: manyOperands(oneKey(-3, LEAN_WRITE, sortedSets.zrem)),
  zscore: oneKey(3, READ, sortedSets.zscore),
  zmscore: manyOperands(oneKey(-3, READ, sortedSets.zmscore)),
  zcard: oneKey(2, READ, sortedSets.zcard),
  zrank: oneKey(-3, READ, sortedSets.zrank),
  zrevrank: oneKey(-3, READ, sortedSets.zrevrank),
  zpopmin: oneKey(-2, LEAN_WRITE, sortedSets.zpopmin),
  zpopmax: oneKey(-2, LEAN_WRITE, sortedSets.zpopmax),
  zmpop: counted(-4, SLOW_LEAN_WRITE, sortedSets.zmpop),
  zrandmember: oneKey(-2, SLOW_READ, sortedSets.zrandmember),
  zscan: oneKey(-3, SLOW_READ, sortedSets.zscan),
  zcount: oneKey(4, READ, sortedRanges.zcount),
  zlexcount: oneKey(4, READ, sortedRanges.zlexcount),
  zrange: oneKey(-4, SLOW_READ, sortedRanges.zrange),
  zrevrange: oneKey(-4, SLOW_READ, sortedRanges.zrevrange),
  zrangebyscore: oneKey(-4, SLOW_READ, sortedRanges.zrangebyscore),
  zrevrangebyscore: oneKey(-4, SLOW_READ, sortedRanges.zrevrangebyscore),
  zrangebylex: oneKey(-4, SLOW_READ, sortedRanges.zrangebylex),
  zrevrangebylex: oneKey(-4, SLOW_READ, sortedRanges.zrevrangebylex),
  zrangestore: twoKeys(-5, SLOW_WRITE, sortedRanges.zrangestore),
  zremrangebyrank: oneKey(4, SLOW_LEAN_WRITE, sortedRanges.zremrangebyrank),
  zremrangebyscore: oneKey(4, SLOW_LEAN_WRITE, sortedRanges.zremrangebyscore),
  zremrangebylex: oneKey(4, SLOW_LEAN_WRITE, sortedRanges.zremrangebylex),
  zinter: counted(-3, SLOW_READ, sortedOperations.zinter),
  zintercard: counted(-3, SLOW_READ, sortedOperations.zintercard),
  zunion: counted(-3, SLOW_READ, sortedOperations.zunion),
  zdiff: counted(-3, SLOW_READ, sortedOperations.zdiff),
  zinterstore: countedFor(-4, SLOW_WRITE, sortedOperations.zinterstore),
  zunionstore: countedFor(-4, SLOW_WRITE, sortedOperations.zunionstore),
  zdiffstore: countedFor(-4, SLOW_WRITE, sortedOperations.zdiffstore),
}

const GEO: Readonly<Record<string, CommandSpec>> = {
  geoadd: manyOperands(oneKey(-5, SLOW_WRITE, geo.geoadd)),
  geopos: manyOperands(oneKey(-2, SLOW_READ, geo.geopos)),
  geodist: oneKey(-4, SLOW_READ, geo.geodist),
  geohash: manyOperands(oneKey(-2, SLOW_READ, geo.geohash)),
  geosearch: oneKey(-7, SLOW_READ, geo.geosearch),
  geosearchstore: twoKeys(-8, SLOW_WRITE, geo.geosearchstore),
  georadius: storing(-6, geo.RADIUS_STORES, geo.georadius),
  georadius_ro: oneKey(-6, SLOW_READ, geo.georadiusRo),
  georadiusbymember: storing(-5, geo.MEMBER_RADIUS_STORES, geo.georadiusbymember),
  georadiusbymember_ro: oneKey(-5, SLOW_READ, geo.georadiusbymemberRo),
}

const SORTING: Readonly<Record<string, CommandSpec>> = {
  sort: storing(-2, sorting.SORT_STORES, sorting.sort),
  sort_ro: oneKey(-2, [...SLOW_READ, 'movablekeys'], sorting.sortRo),
}

const TAKING = ['write', 'noscript', 'blocking']
const MOVING = [...SLOW_WRITE, 'noscript', 'blocking']

/** Those that wait for an element; in MULTI they do not. By lower-case name. */
export const BLOCKING_STEPS: Readonly<Record<string, CommandSpec>> = {
  blpop: keysThenTimeout(TAKING, blocking.blpop),
  brpop: keysThenTimeout(TAKING, blocking.brpop),
  blmove: { ...twoKeys(6, MOVING, blocking.blmove.make), plan: blocking.blmove.plan, alwaysWaits: true },
  brpoplpush: {
    ...twoKeys(4, MOVING, blocking.brpoplpush.make),
    plan: blocking.brpoplpush.plan,
    alwaysWaits: true,
  },
  blmpop: timeoutThenCounted(blocking.blmpop),
  bzpopmin: keysThenTimeout([...TAKING, 'fast'], blocking.bzpopmin),
  bzpopmax: keysThenTimeout([...TAKING, 'fast'], blocking.bzpopmax),
  bzmpop: timeoutThenCounted(blocking.bzmpop),
}

/** By lower-case name. */
export const COLLECTION_STEPS: Readonly<Record<string, CommandSpec>> = {
  ...HASHES,
  ...SETS,
  ...LISTS,
  ...SORTED_SETS,
  ...GEO,
  ...SORTING,
}

/** It stores only with an option. */
function storing(arity: number, storeOption: StoreOption, make: StepMaker): CommandSpec {
  return { ...oneKey(arity, [...SLOW_WRITE, 'movablekeys'], make), storeOption }
}

function manyOperands(spec: CommandSpec): CommandSpec {
  return { ...spec, manyOperands: true }
}

/** The first argument says how many keys follow. */
function counted(arity: number, flags: readonly string[], make: StepMaker): CommandSpec {
  return {
    arity,
    flags: [...flags, 'movablekeys'],
    ...{ firstKey: 2, lastKey: -1, keyStep: 1, keyCountAt: 1 },
    make,
  }
}

function keysThenTimeout(flags: readonly string[], { make, plan }: blocking.Blocking): CommandSpec {
  return { ...allKeys(-3, flags, make), lastKey: -2, plan, alwaysWaits: true }
}

/** The first argument says how long it waits, the second one how many keys follow. */
function timeoutThenCounted({ make, plan }: blocking.Blocking): CommandSpec {
  return { ...counted(-5, ['write', 'blocking'], make), firstKey: 3, keyCountAt: 2, plan, alwaysWaits: true }
}

/** The same behind a destination. */
function countedFor(arity: number, flags: readonly string[], make: StepMaker): CommandSpec {
  return { ...counted(arity, flags, make), firstKey: 3, keyCountAt: 2, targetAt: 1 }
}
