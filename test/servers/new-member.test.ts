import { expect } from 'chai'
import { joiningOf } from '../../src/servers/new-member.ts'

describe('a node that is to join', () => {
  const ids = [
    '../../x',
    'a/b',
    'a,b',
    'a=b',
    'a@b',
    'a b',
    'x?weight=2',
    'a\nb',
    '',
    '-a',
    '[::1',
    'a'.repeat(65),
  ]
  for (const id of ids)
    it(`is refused for its id, not for its address, with the id ${JSON.stringify(id.slice(0, 20))}`, () => {
      expect(() => joiningOf({ url: 'redis://10.0.0.1:6379', id }))
        .to.throw(/^The node cannot be used: its id must be 1 to 64 letters/)
        .with.property('code', 'BAD_REQUEST')
    })

  for (const id of ['a', 'redis-1', 'A.b_c:d-e', '10.0.0.1:6379', '[::1]:6379'])
    it(`may have the id ${id}`, () => {
      expect(joiningOf({ url: 'redis://10.0.0.1:6379', id }).id).to.equal(id)
    })
})
