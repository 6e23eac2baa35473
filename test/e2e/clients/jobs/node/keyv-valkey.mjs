// @keyv/valkey: Keyv over iovalkey.
import KeyvValkey from '@keyv/valkey'
import { Keyv } from 'keyv'
import { end, lacks, password, port, same } from './job.mjs'

const open = (options) =>
  new Keyv({ store: new KeyvValkey(`redis://:${password}@127.0.0.1:${port}`, options), throwOnErrors: true })
const keyv = open({ useRedisSets: false })
same(true, await keyv.set('user', { name: 'Ada' }, 60_000))
same({ name: 'Ada' }, await keyv.get('user'))
same([{ name: 'Ada' }, undefined], await keyv.get(['user', 'none']))
same(true, await keyv.has('user'))
same(true, await keyv.delete('user'))
await keyv.set('a', 1)
await keyv.clear()
same(undefined, await keyv.get('a'))
await lacks('set() without useRedisSets: false', () => open().set('user', 1))
end()
