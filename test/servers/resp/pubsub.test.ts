// Publish and subscribe on one coordinator: replies next to a real Redis, and what happens to slow and idle subscribers.
import { once } from 'node:events'
import { expect } from 'chai'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

/**
 * Each runs on a connection of its own; `@` = on another one. After each line whatever has arrived by the reply to a PING of
 * that connection is compared.
 */
const LIKE_REDIS = [
  ['SUBSCRIBE a b a', 'PING', 'PING x', 'GET k', 'ECHO x', 'SUBSCRIBE', 'NOSUCH', 'PSUBSCRIBE p* q'],
  ['SUBSCRIBE a b', 'UNSUBSCRIBE a', 'UNSUBSCRIBE', 'UNSUBSCRIBE', 'GET k', 'PING'],
  ['PSUBSCRIBE p*', 'PUNSUBSCRIBE nope', 'PUNSUBSCRIBE', 'PUNSUBSCRIBE', 'PSUBSCRIBE', 'GET k'],
  ['SSUBSCRIBE s t', 'SUBSCRIBE a', 'SUNSUBSCRIBE s', 'UNSUBSCRIBE', 'GET k', 'SUNSUBSCRIBE', 'SUNSUBSCRIBE'],
  ['UNSUBSCRIBE x y', 'PUNSUBSCRIBE', 'SUNSUBSCRIBE x', 'PUNSUBSCRIBE x'],
  ['MULTI', 'SUBSCRIBE a b', 'PUBLISH other hi', 'PSUBSCRIBE a*', 'EXEC', '@PUBLISH a 1', 'RESET', 'GET k'],
  ['MULTI', 'SSUBSCRIBE a', 'UNSUBSCRIBE', 'SUNSUBSCRIBE', 'SUBSCRIBE', 'EXEC', 'DISCARD'],
  ['MULTI', 'SSUBSCRIBE a', 'SPUBLISH a x', 'PUBSUB NUMPAT', 'EXEC'],
  ['CLIENT REPLY OFF', 'SUBSCRIBE a', '@PUBLISH a m', 'UNSUBSCRIBE a', 'CLIENT REPLY ON'],
  ['CLIENT REPLY SKIP', 'SUBSCRIBE a', '@PUBLISH a m', 'PING'],
  ['SUBSCRIBE a', 'CLIENT ID', 'CONFIG GET x', 'MULTI', 'AUTH x y', 'SELECT 0', 'WATCH k', 'EXEC'],
  ['SUBSCRIBE a', 'RESET', '@PUBLISH a m', '@PUBSUB NUMSUB a', 'PING'],
  ['PUBLISH', 'PUBLISH a', 'PUBLISH a b c', 'SPUBLISH a', 'PUBLISH a b', 'SPUBLISH a b', 'PUBLISH "" ""'],
  ['PUBSUB', 'PUBSUB CHANNELS a b', 'PUBSUB NUMSUB', 'PUBSUB NUMPAT x', 'PUBSUB NUMPAT', 'PUBSUB NOSUCH'],
  ['PUBSUB SHARDNUMSUB x', 'PUBSUB SHARDCHANNELS', 'PUBSUB SHARDCHANNELS a b', 'PUBSUB SHARDNUMSUB'],
  [
    'SUBSCRIBE a "" "\\x00\\r\\n\\xff"',
    '@PUBLISH a m',
    '@PUBLISH "" x',
    '@PUBLISH "\\x00\\r\\n\\xff" "\\xfe\\r\\n"',
  ],
  [
    'SUBSCRIBE a',
    'PSUBSCRIBE ? x[b] h[^x]llo a\\*',
    '@PUBLISH a m',
    '@PUBLISH xb m',
    '@PUBLISH hello m',
    '@PUBLISH a* m',
    '@SPUBLISH a m',
    'SSUBSCRIBE a',
    '@SPUBLISH a m2',
    '@PUBSUB NUMSUB a b',
    '@PUBSUB NUMPAT',
    '@PUBSUB CHANNELS',
    '@PUBSUB CHANNELS a*',
    '@PUBSUB CHANNELS b*',
    '@PUBSUB SHARDNUMSUB a',
    '@PUBSUB SHARDCHANNELS',
    '@CLIENT KILL TYPE pubsub',
  ],
]

describe('publish and subscribe', function () {
  this.timeout(20_000)
  let redis: RedisServer
  let running: RunningRondo
  before(async () => {
    redis = await startRedis()
    running = await startRondo({ MAX_CLIENT_MEMORY: '512MiB', MAX_VALUE_BYTES: String(1024 * 1024) })
  })
  after(async () => {
    await running.stop()
    await redis.stop()
  })
  const rondoPort = () => running.rondo.respServer.port

  /** Until a reply has come, everything that comes on both connections, line by line. */
  async function said(port: number, protocol: number, lines: readonly string[]): Promise<string[]> {
    const [client, other] = [await RawResp.open(port), await RawResp.open(port)]
    await client.ask('HELLO', String(protocol))
    const all: string[] = []
    let text = ''
    // It is answered in both modes, and everything before it has arrived then.
    const upTo = async (mark: string) => {
      client.send(`UNSUBSCRIBE ${mark}\r\n`)
      while (!text.includes(mark)) text += await client.reply().catch(() => mark)
    }
    for (const [i, line] of lines.entries()) {
      if (line.startsWith('@')) {
        await upTo(`mark${i}`)
        other.send(`${line.slice(1)}\r\n`)
        all.push(`other: ${await other.reply()}`)
      } else client.send(`${line}\r\n`)
    }
    await upTo('the-end')
    client.close()
    other.close()
    return [...all, text]
  }

  for (const protocol of [2, 3]) {
    it(`answers as Redis does, byte for byte (RESP${protocol})`, async () => {
      for (const lines of LIKE_REDIS) {
        const [expected, found] = await Promise.all([
          said(redis.port, protocol, lines),
          said(rondoPort(), protocol, lines),
        ])
        const ids = (texts: readonly string[]) => texts.map((text) => text.replace(/^:\d+/gm, ':n'))
        expect(lines[1] === 'CLIENT ID' ? ids(found) : found, lines.join(', ')).to.deep.equal(
          lines[1] === 'CLIENT ID' ? ids(expected) : expected,
        )
      }
    })
  }

  it('a command behind SUBSCRIBE, UNSUBSCRIBE or PUBLISH in one pipeline sees what it did', async () => {
    const client = await RawResp.open(rondoPort())
    await client.ask('HELLO', '3')
    client.send(
      Buffer.concat([
        command('SUBSCRIBE', 'p'),
        command('PUBLISH', 'p', '1'),
        command('PUBSUB', 'NUMSUB', 'p'),
        command('UNSUBSCRIBE', 'p'),
        command('PUBLISH', 'p', '2'),
      ]),
    )
    const replies = (await client.replies(6)).sort()
    expect(replies).to.deep.equal(
      [
        '>3\r\n$9\r\nsubscribe\r\n$1\r\np\r\n:1\r\n',
        '>3\r\n$7\r\nmessage\r\n$1\r\np\r\n$1\r\n1\r\n',
        ':1\r\n',
        '*2\r\n$1\r\np\r\n:1\r\n',
        '>3\r\n$11\r\nunsubscribe\r\n$1\r\np\r\n:0\r\n',
        ':0\r\n',
      ].sort(),
    )
    client.close()
  })

  it('messages on one channel arrive in the order of their publisher, whatever the database', async () => {
    const [client, publisher] = [await RawResp.open(rondoPort()), await RawResp.open(rondoPort())]
    await client.ask('SUBSCRIBE', 'order')
    await publisher.ask('SELECT', '3')
    const numbers = Array.from({ length: 3000 }, (_, i) => String(i))
    publisher.send(Buffer.concat(numbers.map((number) => command('PUBLISH', 'order', number))))
    const counts = await publisher.replies(numbers.length)
    expect(new Set(counts)).to.deep.equal(new Set([':1\r\n']))
    const heard = await client.replies(numbers.length)
    expect(heard.map((text) => text.split('\r\n')[6])).to.deep.equal(numbers)
    client.close()
    publisher.close()
  })

  it('CLIENT LIST, CLIENT KILL and INFO tell subscribers from others', async () => {
    const [client, other] = [await RawResp.open(rondoPort()), await RawResp.open(rondoPort())]
    await client.ask('HELLO', '3')
    client.send(
      Buffer.concat([
        command('SUBSCRIBE', 'x', 'y'),
        command('PSUBSCRIBE', 'x*'),
        command('SSUBSCRIBE', 'x'),
      ]),
    )
    await client.replies(4)
    expect(await other.ask('CLIENT', 'LIST', 'TYPE', 'pubsub')).to.match(/ flags=P .* sub=2 psub=1 ssub=1 /)
    expect(await other.ask('CLIENT', 'LIST', 'TYPE', 'normal')).to.not.contain('flags=P')
    const info = await other.ask('INFO', 'stats')
    expect(info).to.contain('pubsub_channels:2\r\npubsub_patterns:1\r\npubsubshard_channels:1\r\n')
    expect(await other.ask('CLIENT', 'KILL', 'TYPE', 'pubsub')).to.equal(':1\r\n')
    await client.rest()
    expect(await other.ask('PUBSUB', 'CHANNELS', 'x*')).to.equal('*0\r\n')
    expect(await other.ask('PUBSUB', 'NUMPAT')).to.equal(':0\r\n')
    other.close()
  })

  it('lists every channel, however many there are, and goes on when their subscriber is gone', async () => {
    const [client, other] = [await RawResp.open(rondoPort()), await RawResp.open(rondoPort())]
    const names = Array.from({ length: 12_000 }, (_, i) => `many-${i}`)
    for (let i = 0; i < names.length; i += 1000) {
      client.send(command('SUBSCRIBE', ...names.slice(i, i + 1000)))
      await client.replies(1000)
    }
    for (let i = 0; i < 3; i++) {
      expect((await other.ask('PUBSUB', 'CHANNELS', 'many-*')).slice(0, 8)).to.equal('*12000\r\n')
    }
    client.close()
    while ((await other.ask('PUBSUB', 'CHANNELS', 'many-*')) !== '*0\r\n');
    expect(await other.ask('PUBLISH', 'many-7', 'x')).to.equal(':0\r\n')
    other.close()
  })

  it('refuses what is too long, names of any other kind are welcome', async () => {
    const client = await RawResp.open(rondoPort())
    const long = 'x'.repeat(1025)
    const refusal = '-ERR The channel has 1025 bytes; at most 1024 are allowed (MAX_KEY_BYTES).\r\n'
    for (const name of ['SUBSCRIBE', 'SSUBSCRIBE']) expect(await client.ask(name, long)).to.equal(refusal)
    expect(await client.ask('PUBLISH', long, 'x')).to.equal(refusal)
    expect(await client.ask('PSUBSCRIBE', long)).to.contain('The pattern has 1025 bytes')
    expect(await client.ask('PUBLISH', 'c', Buffer.alloc(1024 * 1024 + 1))).to.contain('MAX_VALUE_BYTES')
    expect(await client.ask('PUBLISH', '__rondo:marker', 'x')).to.equal(':0\r\n')
    client.close()
  })

  it('a subscriber that does not read is cut at 32 MiB, and told of; others and the publisher go on', async () => {
    const [slow, quick, publisher] = [
      await RawResp.open(rondoPort()),
      await RawResp.open(rondoPort()),
      await RawResp.open(rondoPort()),
    ]
    await Promise.all([slow.ask('SUBSCRIBE', 'big'), quick.ask('SUBSCRIBE', 'big')])
    slow.socket.pause()
    const closed = once(slow.socket, 'close')
    const message = Buffer.alloc(512 * 1024, 'x')
    let receivers = 2
    let sent = 0
    for (; receivers === 2 && sent < 200; sent++) {
      receivers = Number((await publisher.ask('PUBLISH', 'big', message)).slice(1))
      await quick.reply()
    }
    expect(receivers).to.equal(1)
    // What the kernel takes comes on top of it.
    expect(sent).to.be.within(64, 199)
    slow.socket.resume()
    await closed
    expect(running.rondo.respServer.subscribersCut).to.equal(1)
    expect(running.logText()).to.match(/the connection of subscriber .* was closed: it reads too slowly/)
    expect(running.rondo.ledger.used).to.be.below(8 * 1024 * 1024)
    quick.close()
    publisher.close()
  })

  it('an idle timeout does not cut who subscribes, and tokens are needed', async () => {
    const token = 'data-token-0123456789abcdef'
    const other = await startRondo({ DATA_TOKEN: token, CLIENT_IDLE_SECONDS: '1' })
    try {
      const port = other.rondo.respServer.port
      const nobody = await RawResp.open(port)
      for (const name of ['SUBSCRIBE', 'PSUBSCRIBE', 'SSUBSCRIBE', 'PUBSUB', 'UNSUBSCRIBE']) {
        expect(await nobody.ask(name, 'x')).to.equal('-NOAUTH Authentication required.\r\n')
      }
      const [idle, client] = [await RawResp.open(port), await RawResp.open(port)]
      await Promise.all([idle.ask('AUTH', token), client.ask('AUTH', token)])
      await client.ask('SUBSCRIBE', 'x')
      await once(idle.socket, 'close')
      const publisher = await RawResp.open(port)
      await publisher.ask('AUTH', token)
      expect(await publisher.ask('PUBLISH', 'x', 'm')).to.equal(':1\r\n')
      expect(await client.reply()).to.contain('message')
      for (const one of [nobody, client, publisher]) one.close()
    } finally {
      await other.stop()
    }
  })
})
