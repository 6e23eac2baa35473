/**
 * Commands by which programs hand something over: whoever takes an element from a list, a sorted set or a stream, or hears a
 * message, goes on with what was stored before it.
 *
 *   SET job:7 …        on one node
 *   LPUSH jobs job:7   on another one; a worker waits there, and reads job:7
 *
 * Commands sent without waiting for replies run concurrently, so these start when the others before them are answered.
 */
export const HANDS_OVER: ReadonlySet<string> = new Set(
  (
    'blmove brpoplpush linsert lmove lpush lpushx rpoplpush rpush rpushx ' +
    'geoadd georadius georadiusbymember geosearchstore ' +
    'zadd zdiffstore zincrby zinterstore zrangestore zunionstore ' +
    'xadd ' +
    'copy eval evalsha fcall move rename renamenx restore sort ' +
    'publish spublish'
  ).split(' '),
)
