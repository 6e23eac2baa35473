import { expect } from 'chai'
import fc from 'fast-check'
import {
  describe as describeNode,
  isLoopback,
  parseHost,
  parseNodeList,
  urlOf,
} from '../../src/config/node-addresses.ts'

function one(text: string) {
  const { nodes, problems } = parseNodeList(text)
  expect(problems, text).to.deep.equal([])
  expect(nodes).to.have.length(1)
  return nodes[0]!
}

describe('node addresses', () => {
  it('reads the shortest form, with the address as id and the default port', () => {
    expect(one('Cache-1.Example')).to.deep.equal({
      id: 'cache-1.example:6379',
      host: 'cache-1.example',
      port: 6379,
      tls: false,
      weight: 1,
      address: 'cache-1.example:6379',
    })
  })

  it('reads the longest form', () => {
    expect(one('redis-1=rediss://app:p%40ss%2C%25@cache.example:7000/0?weight=2.5&zone=eu-1a')).to.deep.equal(
      {
        id: 'redis-1',
        host: 'cache.example',
        port: 7000,
        tls: true,
        username: 'app',
        password: 'p@ss,%',
        weight: 2.5,
        zone: 'eu-1a',
        address: 'cache.example:7000',
      },
    )
  })

  it('reads a list in its order, with spaces and line ends around the commas', () => {
    const { nodes, problems } = parseNodeList('b=h2:1, a=h1:1 ,\n  h3')
    expect(problems).to.deep.equal([])
    expect(nodes.map((node) => node.id)).to.deep.equal(['b', 'a', 'h3:6379'])
  })

  const forms: [string, Record<string, unknown>][] = [
    ['localhost:6379', { id: 'localhost:6379', host: 'localhost', port: 6379 }],
    ['redis://localhost', { tls: false, port: 6379 }],
    ['REDIS://LOCALHOST', { id: 'localhost:6379' }],
    ['rediss://localhost', { tls: true, port: 6379 }],
    ['h:1', { port: 1 }],
    ['h:65535', { port: 65535 }],
    ['h/', { address: 'h:6379' }],
    ['h/0', { address: 'h:6379' }],
    ['h?', { address: 'h:6379' }],
    ['[::1]', { id: '[::1]:6379', host: '::1', address: '[::1]:6379' }],
    ['redis://[2001:DB8:0:0::1]:7', { id: '[2001:db8::1]:7', host: '2001:db8::1' }],
    ['redis://:secret@h', { username: undefined, password: 'secret' }],
    ['redis://u:a=b@h', { username: 'u', password: 'a=b' }],
    ['redis://u:a:b@h', { username: 'u', password: 'a:b' }],
    ['u:secret@h', { username: 'u', password: 'secret', id: 'h:6379' }],
    [':a=b@h', { username: undefined, password: 'a=b', id: 'h:6379' }],
    ['n=u:secret@h', { username: 'u', password: 'secret', id: 'n' }],
    ['10.0.0.1:6379=10.0.0.9:6379', { id: '10.0.0.1:6379', host: '10.0.0.9' }],
    ['10.0.0.1:6379=redis://u:secret@h', { id: '10.0.0.1:6379', password: 'secret' }],
    ['[::1]:6379=h', { id: '[::1]:6379', host: 'h' }],
    ['h?weight=0.01', { weight: 0.01 }],
    ['h?zone=a&weight=100', { weight: 100, zone: 'a' }],
    ['redis_1.svc.cluster.local.', { host: 'redis_1.svc.cluster.local.' }],
  ]
  for (const [text, expected] of forms)
    it(`takes ${text}`, () => {
      const node = one(text) as unknown as Record<string, unknown>
      for (const [name, value] of Object.entries(expected)) expect(node[name], name).to.equal(value)
    })

  it('reads a service with its Sentinels, which commas separate as well', () => {
    const text =
      'redis+sentinel://app:p%40ss@cart-1@Sentinel-1,10.0.0.2:7,[::1]:8?weight=2,' +
      'b=rediss+sentinel://users@h:1,h:2 , c=plain:1,redis://other'
    const { nodes, problems } = parseNodeList(text)
    expect(problems).to.deep.equal([])
    expect(nodes.map(({ id, tls, address }) => [id, tls, address])).to.deep.equal([
      ['cart-1', false, 'cart-1@sentinel-1:26379,10.0.0.2:7,[::1]:8'],
      ['b', true, 'users@h:1,h:2'],
      ['c', false, 'plain:1'],
      ['other:6379', false, 'other:6379'],
    ])
    expect(nodes[0]).to.deep.include({ username: 'app', password: 'p@ss', weight: 2 })
    expect(nodes[0]!.service).to.deep.equal({
      name: 'cart-1',
      sentinels: [
        { host: 'sentinel-1', port: 26_379 },
        { host: '10.0.0.2', port: 7 },
        { host: '::1', port: 8 },
      ],
    })
    expect(urlOf(nodes[0]!)).to.equal('redis+sentinel://cart-1@sentinel-1:26379,10.0.0.2:7,[::1]:8')
    expect(one(urlOf(nodes[1]!))).to.deep.include({ id: 'users', address: 'users@h:1,h:2', tls: true })
  })

  const refused: [string, RegExp][] = [
    ['redis+sentinel://h:1', /before the @ there is no name of a service/],
    ['redis+sentinel://:secret@h:1', /before the @ there is no name of a service/],
    ['redis+sentinel://a b@h:1', /before the @ there is no name of a service/],
    ['redis+sentinel://u@cart@h:1', /no password/],
    ['redis+sentinel://u:a@b@cart@h:1', /%40/],
    ['redis+sentinel://cart@h:1,h:1', /names a Sentinel twice/],
    ['redis+sentinel://cart@h:1,', /host is neither/],
    ['redis+sentinel://cart@h:1,x:y', /port must be/],
    ['redis+sentinel://cart@h:1/1', /database 0 only/],
    [`redis+sentinel://cart@${Array.from({ length: 16 }, (_, i) => `h${i}`).join()}`, /more than 15/],
    ['redis+sentinel://cart@h,redis+sentinel://cart@g', /has the id of entry 1/],
    ['', /names no host/],
    ['h1,,h2', /entry 2 of 3 \(""\): it names no host/],
    ['h1,', /entry 2 of 2 .*names no host/],
    ['redis://', /host is neither/],
    ['http://h', /scheme is unknown: use redis/],
    ['valkey://h', /scheme is unknown/],
    ['unix:///tmp/redis.sock', /scheme is unknown/],
    ['h:0', /port must be/],
    ['h:65536', /port must be/],
    ['h:', /port must be/],
    ['h:x', /port must be/],
    ['h:-1', /port must be/],
    ['h:1.5', /port must be/],
    ['h:06379', /port must be/],
    ['::1:6379', /too many colons.*brackets/],
    ['[::1', /colons|neither/],
    ['[h]', /host is neither/],
    ['[fe80::1%eth0]', /host is neither/],
    ['10.0.0.256', /host is neither/],
    ['127.1', /host is neither/],
    ['0x7f000001', /host is neither/],
    ['-h', /host is neither/],
    ['a b', /host is neither/],
    ['h1 h2:1', /host is neither/],
    ['hé', /host is neither/],
    [`${'a'.repeat(64)}`, /host is neither/],
    ['h/1', /database 0 only/],
    ['h/a', /path has no meaning/],
    ['h?db=0', /only weight and zone/],
    ['h?Weight=1', /only weight and zone/],
    ['h?weight=1&weight=1', /weight is given twice/],
    ...['0', '-1', '101', '1e3', 'NaN', 'Infinity', '', '1.005', '0.00', '+1'].map(
      (weight): [string, RegExp] => [`h?weight=${weight}`, /weight must be a number/],
    ),
    ['h?zone=', /zone must be/],
    ['h?zone=a b', /zone must be/],
    ['=h', /id must be/],
    ['a#1=h', /id must be/],
    ['__proto__=h', /id must be/],
    [`${'a'.repeat(65)}=h`, /id must be/],
    ['u@h', /no password/],
    ['redis://u:@h', /no password/],
    ['redis://@h', /no password/],
    ['redis://u:%zz@h', /write % itself as %25/],
    ['redis://u:%ff@h', /write % itself as %25/],
    ['redis://u:a/b@h', /%2F/],
    ['redis://u:a@b@h', /%40/],
    ['u:a=b@h', /id or a password/],
    ['redis://u:a,b@h', /%2C/],
  ]
  for (const [text, why] of refused)
    it(`refuses ${JSON.stringify(text)} and says why`, () => {
      const { problems } = parseNodeList(text)
      expect(problems.join('\n')).to.match(why)
      for (const problem of problems) expect(problem).to.match(/^entry \d+ of \d+ \(.+\): .+\.$/)
    })

  it('names every problem of every entry, and keeps the entries that are fine', () => {
    const { nodes, problems } = parseNodeList('a=h1:0?weight=x,b=h2,http://h3?x=1')
    expect(nodes.map((node) => node.id)).to.deep.equal(['b'])
    expect(problems.map((problem) => problem.slice(0, 7))).to.deep.equal([
      'entry 1',
      'entry 1',
      'entry 3',
      'entry 3',
    ])
  })

  it('refuses two nodes with one id or one address, however it is spelled', () => {
    expect(parseNodeList('a=h1,a=h2').problems.join()).to.match(/entry 2 of 2 .* has the id of entry 1/)
    for (const twice of ['a=h,b=H:6379', 'h,redis://h', '[::1],[0:0::1]:6379', 'h,rediss://u:pw@h'])
      expect(parseNodeList(twice).problems.join(), twice).to.match(/entry 2 of 2 .* address of entry 1/)
    expect(parseNodeList('h1:1=h2:1,h1:1').problems.join()).to.match(/has the id of entry 1/)
  })

  it('hides what may be a password even where the entry cannot be understood', () => {
    for (const text of [
      'redis://user:hunter2@h:x',
      'redis://hunter2@h',
      'redis://user:hunter2',
      'redis://:hunter2/',
      'redis://user:x]hunter2',
      'redis://[user:hunter2',
      'redis://user:1/hunter2',
      'http://user:hunter2@h',
      'user:x=hunter2@h',
      'user:hunter2=x@h',
      'redis://user:x,hunter2,y@h',
      'redis://user:hunter2,y@h',
      'redis://user:hunter2@x,y@h',
      'redis://user:x/hunter2@h',
      'redis://user:x?hunter2,y@h',
      'redis://h:x?password=hunter2',
      'redis://h:x?hunter2',
      'redis://h?password=x@hunter2',
      'redis+sentinel://:hunter2@h',
      'redis+sentinel://user:hunter2',
      'redis+sentinel://cart@user:hunter2@h',
      'redis+sentinel://user:hunter2@cart@h:x',
      'redis+sentinel://:x,hunter2@cart@h',
      'redis+sentinel://:x,hunter2,y@cart@h',
      'a,redis://user:hunter2@h?zone=!,b:x',
    ]) {
      const { problems } = parseNodeList(text)
      expect(problems, text).to.not.be.empty
      expect(problems.join('\n'), text).to.not.contain('hunter2')
    }
  })

  it('shows what is no secret, so that the entry can be found', () => {
    expect(parseNodeList('a=redis://u:pw@h:1?weight=0').problems[0]).to.contain(
      '"a=redis://***@h:1?weight=0"',
    )
  })

  it('keeps control and bidirectional characters out of problems', () => {
    const { problems } = parseNodeList('h\n\u001b[2J\u202e\u0085x')
    expect(problems.join('')).to.match(/^[ -~]+$/)
  })

  it('describes a node for logs without its secrets', () => {
    expect(describeNode(one('h'))).to.equal('h:6379')
    const full = describeNode(one('n=rediss://topuser:hunter2@h?weight=2&zone=z'))
    expect(full).to.equal('n (at h:6379, TLS, with a password, weight 2, zone z)')
  })

  it('tells loopback from everything else', () => {
    for (const host of [
      'localhost',
      'LOCALHOST',
      '127.0.0.1',
      '127.9.9.9',
      '::1',
      '[::1]',
      '::ffff:127.0.0.1',
    ])
      expect(isLoopback(host), host).to.be.true
    for (const host of [
      '0.0.0.0',
      '::',
      '10.0.0.1',
      'localhost.evil.com',
      '127.0.0.1.evil.com',
      '128.0.0.1',
      '',
    ])
      expect(isLoopback(host), host).to.be.false
  })

  it('brings a host into one spelling', () => {
    expect(parseHost('EXAMPLE.com')).to.equal('example.com')
    expect(parseHost('[0:0:0:0:0:0:0:1]')).to.equal('::1')
    expect(parseHost('1.2.3.4.5')).to.equal(null)
  })

  it('takes any text without throwing, and answers nodes or problems', () => {
    const soup = fc.string({
      unit: fc.oneof(
        fc.constantFrom(
          'redis://',
          'rediss://',
          'a=',
          'h',
          ':1',
          ',',
          '@',
          '?',
          '&',
          '=',
          '/',
          '%',
          '#',
          '[::1]',
        ),
        fc.constantFrom('weight=2', 'zone=z', 'user:', ':', '%2C', ' ', '\n'),
        fc.string({ unit: 'binary', maxLength: 3 }),
      ),
    })
    fc.assert(
      fc.property(fc.oneof(soup, fc.string({ unit: 'binary' })), (text) => {
        const { nodes, problems } = parseNodeList(text)
        expect(nodes.length + problems.length).to.be.greaterThan(0)
        for (const problem of problems) expect(problem).to.match(/^[ -~…]+$/)
        // What one address says it is, is read as the same again: ids can be handed from one coordinator to another.
        for (const node of nodes) expect(one(`${node.id}=${node.address}`).address).to.equal(node.address)
      }),
      { numRuns: 3000 },
    )
  })

  // A password is words between separators; no word of it may be seen, encoded or not, wherever the entry breaks.
  const words = fc.array(
    fc.integer({ min: 0, max: 0xffff }).map((n) => `zq${n.toString(16).padStart(4, '0')}qz`),
    {
      minLength: 1,
      maxLength: 4,
    },
  )
  const secrets = words.chain((list) =>
    fc
      .array(
        fc.constantFrom(
          ',',
          '@',
          '/',
          '?',
          '#',
          '=',
          ':',
          '%',
          '&',
          '%zz',
          '://',
          ' ',
          '',
          '\n',
          '[',
          ']',
          '%2C',
        ),
        {
          minLength: list.length + 1,
          maxLength: list.length + 1,
        },
      )
      .map((gaps) => ({ list, text: gaps[0]! + list.map((word, i) => word + gaps[i + 1]!).join('') })),
  )
  const before = fc.constantFrom(
    '',
    'redis://',
    'rediss://',
    'a=',
    'a=redis://',
    'http://',
    'a:1=',
    'h1,',
    'h1,b=rediss://',
  )
  const user = fc.constantFrom('', 'user', 'u%zz')
  const after = fc.constantFrom(
    'h',
    'h:1',
    'h:x',
    '',
    'h/1',
    'h?weight=0',
    'h?db=1',
    'h,h',
    'h,h2:x',
    'h,,redis://u:p@h3:0',
  )

  it('never shows a password, raw or encoded, in a problem or a description', () => {
    fc.assert(
      fc.property(before, user, secrets, fc.boolean(), after, (head, name, secret, encoded, tail) => {
        const text = `${head}${name}:${encoded ? encodeURIComponent(secret.text) : secret.text}@${tail}`
        const { nodes, problems } = parseNodeList(text)
        const seen = problems.join('\n') + (encoded ? nodes.map(describeNode).join('\n') : '')
        for (const word of secret.list) expect(seen, text).to.not.contain(word)
      }),
      { numRuns: 5000 },
    )
  })

  it('gives an encoded password back byte for byte', () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 1, unit: 'binary' }),
        fc.string({ unit: 'binary' }),
        (password, username) => {
          const node = one(`n=redis://${encodeURIComponent(username)}:${encodeURIComponent(password)}@h`)
          expect(node.password).to.equal(password)
          expect(node.username ?? '').to.equal(username)
        },
      ),
    )
  })
})
