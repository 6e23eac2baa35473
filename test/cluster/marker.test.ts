import { expect } from 'chai'
import fc from 'fast-check'
import {
  decodeMarker,
  whyOtherMarker,
  encodeMarker,
  judgeMarker,
  type Marker,
  type MarkerContext,
} from '../../src/cluster/marker.ts'

const MARKER: Marker = { cluster: 'c1', id: 'a', runId: 'run-1', token: 't1', state: 'clean', epoch: 3 }
const CONTEXT: MarkerContext = {
  cluster: 'c1',
  id: 'a',
  runId: 'run-1',
  durable: false,
  founding: false,
  freshToken: () => 'fresh',
  former: new Set(),
  topology: null,
}
const judge = (marker: Partial<Marker> | null, context: Partial<MarkerContext> = {}) =>
  judgeMarker(marker && encodeMarker({ ...MARKER, ...marker }), { ...CONTEXT, ...context })

describe('a marker', () => {
  it('is stored under the names that the design gives', () => {
    expect(encodeMarker(MARKER).toString()).to.equal(
      '{"cluster":"c1","id":"a","run_id":"run-1","token":"t1","state":"clean","epoch":3}',
    )
  })

  it('comes back as it was', () => {
    const name = fc.string({ minLength: 1 })
    const marker = fc.record<Marker>({
      cluster: name,
      id: name,
      runId: name,
      token: name,
      state: fc.constantFrom('clean', 'filling'),
      epoch: fc.nat(),
    })
    fc.assert(
      fc.property(marker, (value) => {
        expect(decodeMarker(encodeMarker(value))).to.deep.equal(value)
      }),
    )
  })

  it('tells, while a stale node is emptied, what has to go', () => {
    const dropping: Marker = { ...MARKER, state: 'filling', dropBeforeMs: 1_700_000_000_000 }
    expect(encodeMarker(dropping).toString()).to.include('"drop_before":1700000000000')
    expect(decodeMarker(encodeMarker(dropping))).to.deep.equal(dropping)
    expect(judge({ ...dropping }).kind).to.equal('keep')
  })

  describe('of a server that Sentinels watch', () => {
    const watched = { replid: 'r1' }

    it('has its replication id, and is kept as long as that stays', () => {
      expect(encodeMarker({ ...MARKER, ...watched }).toString()).to.include('"replid":"r1"')
      expect(judge(watched, watched)).to.deep.equal({ kind: 'keep', marker: { ...MARKER, ...watched } })
    })

    it('counts as restarted when the server was a replica meanwhile, although its run is the same', () => {
      for (const durable of [false, true]) {
        const verdict = judge(watched, { replid: 'r2', durable })
        expect(verdict).to.deep.include({ kind: 'write' })
        expect((verdict as { marker: Marker }).marker).to.deep.include({
          state: 'filling',
          token: 'fresh',
          replid: 'r2',
        })
      }
    })

    it('counts as restarted after a restart, whatever is on its disk: that may be what another server held', () => {
      const verdict = judge(watched, { runId: 'run-2', replid: 'r2', durable: true })
      expect((verdict as { marker: Marker }).marker.state).to.equal('filling')
    })

    it('gets the replication id where the server was a plain node before', () => {
      const verdict = judge({}, watched)
      expect((verdict as { marker: Marker }).marker).to.deep.equal({ ...MARKER, ...watched })
    })

    it('is that of a server before a failover, if its life is', () => {
      const topology = { epoch: 2, sum: 's', life: 2 }
      const verdict = judge(watched, { runId: 'run-2', replid: 'r2', topology })
      expect(verdict).to.have.property('why').that.includes('a failover made it the primary')
      expect((verdict as { marker: Marker }).marker).to.deep.include({ state: 'filling', replid: 'r2' })
    })
  })

  const noMarkers = [
    '',
    '{',
    'null',
    '7',
    '"clean"',
    '[]',
    '{}',
    JSON.stringify({ ...MARKER, run_id: 'r', state: 'dirty' }),
    JSON.stringify({ ...MARKER, run_id: 'r', epoch: '3' }),
    JSON.stringify({ ...MARKER, run_id: 7 }),
    JSON.stringify({ ...MARKER, run_id: '' }),
    JSON.stringify({ ...MARKER, run_id: 'r', cluster: 'c\n' }),
    JSON.stringify({ ...MARKER, run_id: 'r', cluster: 'c'.repeat(10_000) }),
    JSON.stringify({ ...MARKER, run_id: 'r', epoch: 0 }).replace('"epoch":0', '"epoch":1e999'),
    JSON.stringify({ ...MARKER, run_id: 'r', drop_before: 'x' }),
    '\xff\xfe',
  ]
  for (const text of noMarkers) {
    it(`is not what somebody else stored: ${JSON.stringify(text).slice(0, 120)}`, () => {
      expect(decodeMarker(Buffer.from(text, 'latin1'))).to.equal(null)
      expect(judgeMarker(Buffer.from(text, 'latin1'), CONTEXT).kind).to.equal('refuse')
    })
  }
})

describe('a marker that is not the one from before', () => {
  const before: Marker = { cluster: 'c', id: 'a', runId: 'r', token: 't', state: 'clean', epoch: 1 }
  const topology = { epoch: 3, sum: 's', received: 0 }

  it('tells of a change of the members, or of data that was lost', () => {
    const why = (found: Marker | null, runId = 'r') =>
      whyOtherMarker(before, found && encodeMarker(found), runId)
    expect(why({ ...before, topology })).to.equal('the members have changed meanwhile')
    for (const lost of [why(null), why({ ...before, token: 'u' }), why({ ...before, topology }, 'another')]) {
      expect(lost).to.equal('it has lost its data, or was restarted, meanwhile')
    }
  })
})

describe('what a node turns out to be', () => {
  it('ours and as we left it: kept, clean or filling', () => {
    expect(judge({})).to.deep.equal({ kind: 'keep', marker: MARKER })
    expect(judge({ state: 'filling' })).to.include({ kind: 'keep' })
  })

  it('new, wiped or flushed: filling, with a fresh token', () => {
    const verdict = judge(null)
    expect(verdict).to.deep.include({
      kind: 'write',
      marker: { cluster: 'c1', id: 'a', runId: 'run-1', token: 'fresh', state: 'filling', epoch: 1 },
    })
  })

  it('one of those that the cluster is founded with: clean', () => {
    expect(judge(null, { founding: true })).to.have.nested.property('marker.state', 'clean')
  })

  it('restarted: filling, with a fresh token, in the same epoch', () => {
    for (const state of ['clean', 'filling'] as const) {
      const verdict = judge({ state, runId: 'run-0' })
      expect(verdict).to.deep.include({
        kind: 'write',
        marker: { ...MARKER, runId: 'run-1', state: 'filling', token: 'fresh' },
      })
    }
  })

  it('restarted, with appendfsync always: stamped again, what it was stays', () => {
    for (const state of ['clean', 'filling'] as const) {
      const verdict = judge({ state, runId: 'run-0' }, { durable: true })
      expect(verdict).to.deep.include({ kind: 'write', marker: { ...MARKER, state } })
    }
  })

  it('who was here before another one took the address: filling, also where a restart loses nothing', () => {
    const former = new Set(['t0', 't1'])
    for (const runId of ['run-1', 'run-0']) {
      expect(judge({ runId }, { former, durable: true })).to.deep.include({
        kind: 'write',
        marker: { ...MARKER, state: 'filling', token: 'fresh' },
      })
    }
    expect(judge({ token: 't2' }, { former }).kind).to.equal('keep')
  })

  it('of an earlier life, whose place another server has taken: filling, whatever it holds', () => {
    const marked = (life?: number) => ({
      epoch: 7,
      sum: 's7',
      received: 5,
      ...(life !== undefined && { life }),
    })
    const topology = { epoch: 7, sum: 's7', life: 5 }
    for (const durable of [true, false]) {
      for (const found of [{}, { topology: marked() }, { topology: marked(4) }]) {
        const verdict = judge(found, { topology, durable })
        expect(verdict).to.deep.include({
          kind: 'write',
          marker: {
            ...{ ...MARKER, state: 'filling', token: 'fresh' },
            topology: { epoch: 7, sum: 's7', received: 0, life: 5 },
          },
        })
        expect(verdict).to.have.property('why').that.includes('before another one took its place')
      }
    }
    expect(judge({ topology: marked(5) }, { topology }).kind).to.equal('keep')
    expect(judge(null, { topology })).to.have.nested.property('marker.topology.life', 5)
    expect(judge({ topology: { ...marked(4), epoch: 8 } }, { topology }).kind).to.equal('later')
  })

  it('restarted while it was emptied: whether that goes on is decided anew', () => {
    const verdict = judge({ runId: 'run-0', state: 'filling', dropBeforeMs: 5 })
    expect(verdict).to.have.property('marker').that.does.not.have.property('dropBeforeMs')
  })

  it("another cluster's, or another node's: refused, whatever else it says", () => {
    for (const founding of [true, false]) {
      for (const durable of [true, false]) {
        for (const runId of ['run-1', 'run-0']) {
          const context = { founding, durable }
          expect(judge({ cluster: 'c2', runId }, context)).to.deep.equal({
            kind: 'refuse',
            why:
              'it belongs to cluster c2, as node a: correct its address in REDIS_URLS, or, if its data is not needed, ' +
              'empty it with FLUSHALL',
          })
          expect(judge({ id: 'b', runId }, context)).to.deep.equal({
            kind: 'refuse',
            why:
              'it is node b of cluster c1, and REDIS_URLS calls it a: give it the id that it has there ' +
              '(b=host:port), or correct the address; a node whose data is not needed can be emptied with FLUSHALL',
          })
        }
      }
    }
  })

  it('never clean by a verdict of ours, unless it was, and loses nothing, or the cluster is being founded', () => {
    const found = fc.option(
      fc.record<Partial<Marker>>({
        cluster: fc.constantFrom('c1', 'c2'),
        id: fc.constantFrom('a', 'b'),
        runId: fc.constantFrom('run-0', 'run-1'),
        state: fc.constantFrom('clean', 'filling'),
      }),
    )
    fc.assert(
      fc.property(found, fc.boolean(), fc.boolean(), (marker, durable, founding) => {
        const verdict = judge(marker, { durable, founding })
        if (verdict.kind === 'refuse' || verdict.kind === 'later') return
        if (verdict.marker.state === 'filling') return
        if (marker === null) expect(founding).to.equal(true)
        else {
          expect(marker.state).to.equal('clean')
          expect(marker.runId === 'run-1' || durable).to.equal(true)
        }
      }),
    )
  })
})
