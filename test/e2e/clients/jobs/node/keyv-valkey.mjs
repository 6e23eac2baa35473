// @keyv/valkey: Keyv over iovalkey, which lists its keys in a set unless it is told not to.
import KeyvValkey from '@keyv/valkey'
import { Keyv } from 'keyv'
import { end, password, port, same } from './job.mjs'

for (const useRedisSets of [true, false]) {
  const store = new KeyvValkey(`redis://:${password}@127.0.0.1:${port}`, { useRedisSets })
  const keyv = new Keyv({ store, throwOnErrors: true })
  same(true, await keyv.set('user', { name: 'Ada' }, 60_000))
  same({ name: 'Ada' }, await keyv.get('user'))
  same([{ name: 'Ada' }, undefined], await keyv.get(['user', 'none']))
  same(true, await keyv.has('user'))
  same(true, await keyv.delete('user'))
  same(undefined, await keyv.get('user'))
  await keyv.set('a', 1)
  await keyv.set('b', 2)
  await keyv.clear()
  same([undefined, undefined], await keyv.get(['a', 'b']))
}
end()
