/** Documentation of the commands on collections, in the form of docs.ts. */
import {
  CHANGE,
  CHANGE_UNSEEN,
  INSERT,
  LOOK,
  LOOK_FROM_OUTSIDE,
  OVERWRITE,
  REMOVE,
  TAKE,
  type KeyedRows,
} from './docs-rows.ts'

const SCAN = 'key cursor [MATCH pattern] [COUNT count]'

export const HASH: KeyedRows = {
  hdel: ['2.0.0', 'key field...', REMOVE, 'Removes fields from a hash.'],
  hexists: ['2.0.0', 'key field', LOOK_FROM_OUTSIDE, 'Tells whether a hash has a field.'],
  hget: ['2.0.0', 'key field', LOOK, 'Returns the value of a field of a hash.'],
  hgetall: ['2.0.0', 'key', LOOK, 'Returns all fields of a hash and their values.'],
  hincrby: [
    '2.0.0',
    'key field increment',
    CHANGE,
    'Increments an integer in a field of a hash by a number.',
  ],
  hincrbyfloat: [
    '2.6.0',
    'key field increment:double',
    CHANGE,
    'Increments a floating-point number in a field of a hash.',
  ],
  hkeys: ['2.0.0', 'key', LOOK, 'Returns all fields of a hash.'],
  hlen: ['2.0.0', 'key', LOOK_FROM_OUTSIDE, 'Returns the number of fields of a hash.'],
  hmget: ['2.0.0', 'key field...', LOOK, 'Returns the values of several fields of a hash.'],
  hmset: [
    '2.0.0',
    'key field_value(field value)...',
    CHANGE_UNSEEN,
    'Sets several fields of a hash; the old name of HSET.',
  ],
  hrandfield: ['6.2.0', 'key [options(count [WITHVALUES])]', LOOK, 'Returns random fields of a hash.'],
  hscan: ['2.8.0', SCAN, LOOK, 'Iterates over the fields of a hash and their values.'],
  hset: ['2.0.0', 'key field_value(field value)...', CHANGE_UNSEEN, 'Sets fields of a hash.'],
  hsetnx: ['2.0.0', 'key field value', INSERT, 'Sets a field of a hash if it does not exist.'],
  hstrlen: ['3.2.0', 'key field', LOOK_FROM_OUTSIDE, 'Returns the length of the value of a field of a hash.'],
  hvals: ['2.0.0', 'key', LOOK, 'Returns all values of a hash.'],
}

export const SET: KeyedRows = {
  sadd: ['1.0.0', 'key member...', INSERT, 'Adds members to a set.'],
  scard: ['1.0.0', 'key', LOOK_FROM_OUTSIDE, 'Returns the number of members of a set.'],
  sdiff: ['1.0.0', 'key...', LOOK, 'Returns the members of the first set that no other one has.'],
  sdiffstore: ['1.0.0', 'destination:key key...', `${OVERWRITE}, ${LOOK}`, 'Stores the result of SDIFF.'],
  sinter: ['1.0.0', 'key...', LOOK, 'Returns the members that all sets have.'],
  sintercard: [
    '7.0.0',
    'numkeys key... [LIMIT limit:integer]',
    LOOK,
    'Counts the members that all sets have.',
  ],
  sinterstore: [
    '1.0.0',
    'destination:key key...',
    `${CHANGE_UNSEEN}, ${LOOK}`,
    'Stores the result of SINTER.',
  ],
  sismember: ['1.0.0', 'key member', LOOK_FROM_OUTSIDE, 'Tells whether a set has a member.'],
  smembers: ['1.0.0', 'key', LOOK, 'Returns all members of a set.'],
  smismember: ['6.2.0', 'key member...', LOOK, 'Tells which of several members a set has.'],
  smove: ['1.0.0', 'source destination member', `${TAKE}, ${INSERT}`, 'Moves a member to another set.'],
  spop: ['1.0.0', 'key [count]', TAKE, 'Removes random members of a set, and returns them.'],
  srandmember: ['1.0.0', 'key [count]', LOOK, 'Returns random members of a set.'],
  srem: ['1.0.0', 'key member...', REMOVE, 'Removes members from a set.'],
  sscan: ['2.8.0', SCAN, LOOK, 'Iterates over the members of a set.'],
  sunion: ['1.0.0', 'key...', LOOK, 'Returns the members that any of the sets has.'],
  sunionstore: ['1.0.0', 'destination:key key...', `${OVERWRITE}, ${LOOK}`, 'Stores the result of SUNION.'],
}

const ENDS = '(LEFT|RIGHT)'

const OF_ONE = 'Waits until one of the keys has something, and'

export const LIST: KeyedRows = {
  blmove: [
    '6.2.0',
    `source destination wherefrom${ENDS} whereto${ENDS} timeout:double`,
    `${TAKE}, ${INSERT}`,
    'Waits until a list has an element, and moves it to an end of another one.',
  ],
  blmpop: [
    '7.0.0',
    `timeout:double numkeys key... where${ENDS} [COUNT count]`,
    TAKE,
    `${OF_ONE} removes elements from the first list that exists.`,
  ],
  blpop: ['2.0.0', 'key... timeout:double', TAKE, `${OF_ONE} removes the first element of the list.`],
  brpop: ['2.0.0', 'key... timeout:double', TAKE, `${OF_ONE} removes the last element of the list.`],
  brpoplpush: [
    '2.2.0',
    'source destination timeout:double',
    `${TAKE}, ${INSERT}`,
    'Waits until a list has an element, and moves its last one to the left end of another list.',
  ],
  lindex: ['1.0.0', 'key index', LOOK, 'Returns an element of a list by its index.'],
  linsert: [
    '2.2.0',
    'key where(BEFORE|AFTER) pivot element',
    INSERT,
    'Inserts an element before or after another one of a list.',
  ],
  llen: ['1.0.0', 'key', LOOK_FROM_OUTSIDE, 'Returns the length of a list.'],
  lmove: [
    '6.2.0',
    `source destination wherefrom${ENDS} whereto${ENDS}`,
    `${TAKE}, ${INSERT}`,
    'Moves an element from an end of a list to an end of another one.',
  ],
  lmpop: [
    '7.0.0',
    `numkeys key... where${ENDS} [COUNT count]`,
    TAKE,
    'Removes elements from the first list that exists, and returns them.',
  ],
  lpop: ['1.0.0', 'key [count]', TAKE, 'Removes the first elements of a list, and returns them.'],
  lpos: [
    '6.0.6',
    'key element [RANK rank:integer] [COUNT num-matches:integer] [MAXLEN len]',
    LOOK,
    'Returns the index of an element in a list.',
  ],
  lpush: ['1.0.0', 'key element...', INSERT, 'Adds elements at the left end of a list.'],
  lpushx: ['2.2.0', 'key element...', INSERT, 'Adds elements at the left end of a list, if it exists.'],
  lrange: ['1.0.0', 'key start stop:integer', LOOK, 'Returns a range of elements of a list.'],
  lrem: ['1.0.0', 'key count element', REMOVE, 'Removes elements that are equal to one from a list.'],
  lset: ['1.0.0', 'key index element', CHANGE_UNSEEN, 'Sets an element of a list by its index.'],
  ltrim: ['1.0.0', 'key start stop:integer', REMOVE, 'Removes all elements of a list outside a range.'],
  rpop: ['1.0.0', 'key [count]', TAKE, 'Removes the last elements of a list, and returns them.'],
  rpoplpush: [
    '1.2.0',
    'source destination',
    `${TAKE}, ${INSERT}`,
    'Moves the last element of a list to the left end of another one.',
  ],
  rpush: ['1.0.0', 'key element...', INSERT, 'Adds elements at the right end of a list.'],
  rpushx: ['2.2.0', 'key element...', INSERT, 'Adds elements at the right end of a list, if it exists.'],
}

const LIMIT = '[LIMIT offset_count(offset count)]'
const SORTED_BY = `[sortby(BYSCORE|BYLEX)] [REV] ${LIMIT}`
const WEIGHTS = '[WEIGHTS weight:integer...] [AGGREGATE aggregate(SUM|MIN|MAX)]'
const STORE = `${OVERWRITE}, ${LOOK}`

export const SORTED_SET: KeyedRows = {
  bzmpop: [
    '7.0.0',
    'timeout:double numkeys key... where(MIN|MAX) [COUNT count]',
    TAKE,
    `${OF_ONE} removes members from the first sorted set that exists.`,
  ],
  bzpopmax: [
    '5.0.0',
    'key... timeout:double',
    TAKE,
    `${OF_ONE} removes the member with the highest score of the sorted set.`,
  ],
  bzpopmin: [
    '5.0.0',
    'key... timeout:double',
    TAKE,
    `${OF_ONE} removes the member with the lowest score of the sorted set.`,
  ],
  zadd: [
    '1.2.0',
    'key [condition(NX|XX)] [comparison(GT|LT)] [CH change:pure-token] [INCR increment:pure-token] ' +
      'score_member(score:double member)...',
    CHANGE_UNSEEN,
    'Adds members to a sorted set, or changes their scores.',
  ],
  zcard: ['1.2.0', 'key', LOOK_FROM_OUTSIDE, 'Returns the number of members of a sorted set.'],
  zcount: ['2.0.0', 'key min:double max:double', LOOK, 'Counts the members whose scores are in a range.'],
  zdiff: [
    '6.2.0',
    'numkeys key... [WITHSCORES]',
    LOOK,
    'Returns the members of the first sorted set that no other one has.',
  ],
  zdiffstore: ['6.2.0', 'destination numkeys key...', STORE, 'Stores the result of ZDIFF.'],
  zincrby: ['1.2.0', 'key increment member', CHANGE, 'Increments the score of a member by a number.'],
  zinter: [
    '6.2.0',
    `numkeys key... ${WEIGHTS} [WITHSCORES]`,
    LOOK,
    'Returns the members that all sorted sets have.',
  ],
  zintercard: [
    '7.0.0',
    'numkeys key... [LIMIT limit:integer]',
    LOOK,
    'Counts the members that all sorted sets have.',
  ],
  zinterstore: ['2.0.0', `destination numkeys key... ${WEIGHTS}`, STORE, 'Stores the result of ZINTER.'],
  zlexcount: ['2.8.9', 'key min max', LOOK, 'Counts the members in a range of members.'],
  zmpop: [
    '7.0.0',
    'numkeys key... where(MIN|MAX) [COUNT count]',
    TAKE,
    'Removes the members with the lowest or highest scores from the first sorted set that exists.',
  ],
  zmscore: ['6.2.0', 'key member...', LOOK, 'Returns the scores of several members of a sorted set.'],
  zpopmax: ['5.0.0', 'key [count]', TAKE, 'Removes the members with the highest scores, and returns them.'],
  zpopmin: ['5.0.0', 'key [count]', TAKE, 'Removes the members with the lowest scores, and returns them.'],
  zrandmember: [
    '6.2.0',
    'key [options(count [WITHSCORES])]',
    LOOK,
    'Returns random members of a sorted set.',
  ],
  zrange: [
    '1.2.0',
    `key start:string stop ${SORTED_BY} [WITHSCORES]`,
    LOOK,
    'Returns the members in a range of ranks, scores or members.',
  ],
  zrangebylex: ['2.8.9', `key min max ${LIMIT}`, LOOK, 'Returns the members in a range of members.'],
  zrangebyscore: [
    '1.0.5',
    `key min:double max:double [WITHSCORES] ${LIMIT}`,
    LOOK,
    'Returns the members whose scores are in a range.',
  ],
  zrangestore: ['6.2.0', `dst:key src:key min max ${SORTED_BY}`, STORE, 'Stores the result of ZRANGE.'],
  zrank: ['2.0.0', 'key member [WITHSCORE]', LOOK, 'Returns the rank of a member, by ascending score.'],
  zrem: ['1.2.0', 'key member...', REMOVE, 'Removes members from a sorted set.'],
  zremrangebylex: ['2.8.9', 'key min max', REMOVE, 'Removes the members in a range of members.'],
  zremrangebyrank: ['2.0.0', 'key start stop:integer', REMOVE, 'Removes the members in a range of ranks.'],
  zremrangebyscore: [
    '1.2.0',
    'key min:double max:double',
    REMOVE,
    'Removes the members whose scores are in a range.',
  ],
  zrevrange: [
    '1.2.0',
    'key start stop:integer [WITHSCORES]',
    LOOK,
    'Returns the members in a range of ranks, by descending score.',
  ],
  zrevrangebylex: [
    '2.8.9',
    `key max min ${LIMIT}`,
    LOOK,
    'Returns the members in a range of members, the last one first.',
  ],
  zrevrangebyscore: [
    '2.2.0',
    `key max:double min:double [WITHSCORES] ${LIMIT}`,
    LOOK,
    'Returns the members whose scores are in a range, by descending score.',
  ],
  zrevrank: ['2.0.0', 'key member [WITHSCORE]', LOOK, 'Returns the rank of a member, by descending score.'],
  zscan: ['2.8.0', SCAN, LOOK, 'Iterates over the members of a sorted set and their scores.'],
  zscore: ['1.2.0', 'key member', LOOK, 'Returns the score of a member of a sorted set.'],
  zunion: [
    '6.2.0',
    `numkeys key... ${WEIGHTS} [WITHSCORES]`,
    LOOK,
    'Returns the members that any of the sorted sets has.',
  ],
  zunionstore: ['2.0.0', `destination numkeys key... ${WEIGHTS}`, STORE, 'Stores the result of ZUNION.'],
}

const GEO_UNIT = 'unit(M|KM|FT|MI)'
const GEO_COUNT = '[count(COUNT count [ANY])]'
const GEO_ORDER = '[order(ASC|DESC)]'
const GEO_SHOWN = '[WITHCOORD] [WITHDIST] [WITHHASH]'
const GEO_AREA =
  `from(FROMMEMBER member|FROMLONLAT longitude_latitude(longitude:double latitude:double)) ` +
  `by(circle(BYRADIUS radius:double ${GEO_UNIT})|box(BYBOX width:double height:double ${GEO_UNIT}))`
const RADIUS = `radius:double ${GEO_UNIT} ${GEO_SHOWN} ${GEO_COUNT} ${GEO_ORDER}`
const STORE_KEYS = `${LOOK}, ${OVERWRITE}, ${OVERWRITE}`

export const GEO: KeyedRows = {
  geoadd: [
    '3.2.0',
    'key [condition(NX|XX)] [CH change:pure-token] ' +
      'longitude_latitude_member(longitude:double latitude:double member)...',
    CHANGE_UNSEEN,
    'Adds positions to a sorted set.',
  ],
  geodist: ['3.2.0', `key member1 member2 [${GEO_UNIT}]`, LOOK, 'Returns the distance between two members.'],
  geohash: ['3.2.0', 'key member...', LOOK, 'Returns the positions of members as geohashes.'],
  geopos: ['3.2.0', 'key member...', LOOK, 'Returns longitudes and latitudes of members.'],
  georadius: [
    '3.2.0',
    `key longitude:double latitude:double ${RADIUS} [STORE key] [STOREDIST key]`,
    STORE_KEYS,
    'Finds, and perhaps stores, the members near a position; the old name of GEOSEARCH.',
  ],
  georadius_ro: [
    '3.2.10',
    `key longitude:double latitude:double ${RADIUS}`,
    LOOK,
    'Finds the members near a position; the old name of GEOSEARCH.',
  ],
  georadiusbymember: [
    '3.2.0',
    `key member ${RADIUS} [STORE key] [STOREDIST key]`,
    STORE_KEYS,
    'Finds, and perhaps stores, the members near another one; the old name of GEOSEARCH.',
  ],
  georadiusbymember_ro: [
    '3.2.10',
    `key member ${RADIUS}`,
    LOOK,
    'Finds the members near another one; the old name of GEOSEARCH.',
  ],
  geosearch: [
    '6.2.0',
    `key ${GEO_AREA} ${GEO_ORDER} ${GEO_COUNT} ${GEO_SHOWN}`,
    LOOK,
    'Finds the members within a circle or a box.',
  ],
  geosearchstore: [
    '6.2.0',
    `destination source ${GEO_AREA} ${GEO_ORDER} ${GEO_COUNT} [STOREDIST]`,
    STORE,
    'Stores the result of GEOSEARCH.',
  ],
}

const TRIM =
  'trim(strategy(MAXLEN|MINID) [operator(= equal:pure-token|~ approximately:pure-token)] threshold [LIMIT count])'
const STREAMS = 'STREAMS streams(key... id...)'

export const STREAM: KeyedRows = {
  xack: ['5.0.0', 'key group id...', CHANGE_UNSEEN, 'Marks pending entries of a group as processed.'],
  xadd: [
    '5.0.0',
    `key [NOMKSTREAM] [${TRIM}] id_or_auto(* auto_id:pure-token|id) field_value(field value)...`,
    CHANGE_UNSEEN,
    'Appends an entry to a stream.',
  ],
  xautoclaim: [
    '6.2.0',
    'key group consumer min-idle-time start:string [COUNT count] [JUSTID]',
    REMOVE,
    'Gives pending entries that are idle to a consumer.',
  ],
  xclaim: [
    '5.0.0',
    'key group consumer min-idle-time id... [IDLE ms:integer] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] ' +
      '[JUSTID] [LASTID id]',
    CHANGE_UNSEEN,
    'Gives pending entries to a consumer.',
  ],
  xdel: ['5.0.0', 'key id...', REMOVE, 'Removes entries of a stream.'],
  xgroup: ['5.0.0', '', LOOK, 'Creates, changes and removes consumer groups.'],
  xinfo: ['5.0.0', '', LOOK, 'Tells of a stream, its groups and their consumers.'],
  xlen: ['5.0.0', 'key', LOOK_FROM_OUTSIDE, 'Returns the number of entries of a stream.'],
  xpending: [
    '5.0.0',
    'key group [filters([IDLE min-idle-time:integer] start:string end:string count [consumer])]',
    LOOK,
    'Returns the pending entries of a group, or how many there are.',
  ],
  xrange: [
    '5.0.0',
    'key start:string end:string [COUNT count]',
    LOOK,
    'Returns entries of a stream by their ids.',
  ],
  xread: [
    '5.0.0',
    `[COUNT count] [BLOCK milliseconds] ${STREAMS}`,
    LOOK,
    'Returns entries of streams behind given ids.',
  ],
  xreadgroup: [
    '5.0.0',
    `GROUP group_consumer(group consumer) [COUNT count] [BLOCK milliseconds] [NOACK] ${STREAMS}`,
    LOOK,
    'Returns new entries to a consumer of a group, or its pending ones.',
  ],
  xrevrange: [
    '5.0.0',
    'key end:string start:string [COUNT count]',
    LOOK,
    'Returns entries of a stream by their ids, in reverse order.',
  ],
  xsetid: [
    '5.0.0',
    'key last-id [ENTRIESADDED entries_added:integer] [MAXDELETEDID max_deleted_entry_id]',
    CHANGE_UNSEEN,
    'Sets the last id of a stream.',
  ],
  xtrim: ['5.0.0', `key ${TRIM}`, REMOVE, 'Removes the oldest entries of a stream.'],
}
