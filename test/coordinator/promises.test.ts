import { expect } from 'chai'
import type { Requester, KeyStore } from '../../src/coordinator/api.ts'
import {
  peekRecord,
  readRecord,
  removeKey,
  transactKeys,
  transactKeysSlowly,
  updateKey,
  writeValue,
} from '../../src/coordinator/promises.ts'
import { StoredRecord } from '../../src/core/codec.ts'
import { RondoError } from '../../src/core/errors.ts'

const KEY = Buffer.from('k')
const VALUE = Buffer.from('v')
const VERSION = Buffer.alloc(12, 1)
const RECORD = new StoredRecord(VALUE)
const requester: Requester = { waiting: 0, begunAtMs: 0, gone: false, noneWaits: () => undefined }
const isFollowed = () => true
const options = { requester, level: 'quorum' as const, isFollowed }
const keep = () => ({ kind: 'keep' as const })
const keepSlowly = () => undefined

type Done = Record<string, unknown> & { failed(error: RondoError): void }

/** A store that only notes what it is asked. */
function listening(): { store: KeyStore; asked: () => { method: string; args: unknown[]; done: Done } } {
  const calls: { method: string; args: unknown[] }[] = []
  const get = (_: unknown, method: string) => (...args: unknown[]) => void calls.push({ method, args }) // prettier-ignore
  return {
    store: new Proxy({}, { get }) as KeyStore,
    asked: () => {
      expect(calls).to.have.length(1)
      const { method, args } = calls[0]!
      while (args.at(-1) === undefined) args.pop() // optional ones
      expect(args.pop()).to.equal('quorum')
      return { method, done: args.pop() as Done, args }
    },
  }
}

describe('the port’s calls as promises', () => {
  const calls: {
    begin: (store: KeyStore) => Promise<unknown>
    asks: [string, ...unknown[]]
    ends: [string, ...unknown[]]
    result: unknown
    reads?: boolean
  }[] = [
    {
      begin: (store) => readRecord(store, KEY, options),
      asks: ['read', KEY],
      ends: ['read', RECORD],
      result: RECORD,
      reads: true,
    },
    {
      begin: (store) => peekRecord(store, KEY, 'head', options),
      asks: ['peek', KEY, 'head'],
      ends: ['read', null],
      result: null,
      reads: true,
    },
    {
      begin: (store) => writeValue(store, KEY, VALUE, 7, options),
      asks: ['write', KEY, VALUE, 7],
      ends: ['written', VERSION],
      result: VERSION,
    },
    {
      begin: (store) => removeKey(store, KEY, options),
      asks: ['remove', KEY],
      ends: ['written', VERSION],
      result: VERSION,
    },
    {
      begin: (store) => updateKey(store, KEY, keep, options),
      asks: ['update', KEY, keep],
      ends: ['updated', null, RECORD],
      result: { before: null, after: RECORD },
    },
    {
      begin: (store) => transactKeys(store, [KEY], keep, options),
      asks: ['transact', [KEY], keep],
      ends: ['transacted', [null], [RECORD]],
      result: { before: [null], after: [RECORD] },
    },
    {
      begin: (store) => transactKeysSlowly(store, [KEY], keepSlowly, options),
      asks: ['transactSlowly', [KEY], keepSlowly],
      ends: ['transacted', [null], [RECORD]],
      result: { before: [null], after: [RECORD] },
    },
  ]
  for (const { begin, asks, ends, result, reads = false } of calls) {
    const [method, ...args] = asks
    it(`${method} starts at once, at its level, on behalf of who asks, and settles as it ends`, async () => {
      const { store, asked } = listening()
      const promise = begin(store)
      const call = asked()
      expect(call.method).to.equal(method)
      expect(call.args).to.deep.equal(args)
      expect(call.done.requester).to.equal(requester)
      if (reads) expect(call.done.isFollowed).to.equal(isFollowed)
      const [end, ...results] = ends
      ;(call.done[end] as (...results: unknown[]) => void)(...results)
      expect(await promise).to.deep.equal(result)
    })

    it(`${method} rejects with the error of the coordinator`, async () => {
      const { store, asked } = listening()
      const promise = begin(store)
      const error = new RondoError('QUORUM_NOT_MET', 'too few', { outcome: 'not-applied' })
      asked().done.failed(error)
      expect(await promise.catch((thrown: unknown) => thrown)).to.equal(error)
    })
  }
})
