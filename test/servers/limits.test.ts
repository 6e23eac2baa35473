// The parts that limits are made of, on a clock that the tests move: who waits, is refused, is cut; who gives way; who is too slow.
import { expect } from 'chai'
import { Ledger, UNAUTHENTICATED, type Account, type Holder } from '../../src/servers/ledger.ts'
import { InputTimeout } from '../../src/servers/input-timeout.ts'
import { ConnectionLimit, type LimitedConnection } from '../../src/servers/connection-limit.ts'
import { imbalanceOf } from '../support/ledger.ts'
import { clientLimits, connectionsWithin } from '../../src/app/machine.ts'

const MIB = 1024 * 1024
const BASE = 1000

describe('limits of clients', () => {
  describe('the ledger', () => {
    let nowMs: number
    let due: (() => void)[]
    let ledger: Ledger
    /** Who was cut or resumed, by name, in order. */
    let told: string[]

    beforeEach(() => {
      nowMs = 1000
      due = []
      told = []
      const later = (run: () => void) => {
        due.push(run)
        return {}
      }
      const timers = {
        setTimeout: later,
        clearTimeout: () => undefined,
        endOfTurn: (run: () => void) => void later(run),
      }
      ledger = new Ledger({ limitBytes: 64 * MIB, timers, monotonicMs: () => nowMs })
    })
    const pass = (ms: number) => {
      for (let passed = 0; passed < ms; passed += 50) {
        nowMs += 50
        for (const run of due.splice(0)) run()
      }
    }
    const open = (name: string, user = name) => {
      const holder: Holder & { movedBytes: number } = {
        movedBytes: 0,
        resume: () => void told.push(`${name} resumes`),
        cut: () => void told.push(`${name} is cut`),
        moved: () => holder.movedBytes,
      }
      return { account: ledger.open(user, holder, BASE), holder }
    }
    afterEach(() => expect(imbalanceOf(ledger)).to.equal(null))

    it('is the sum of its accounts, and empty when they are closed, whatever comes later', () => {
      const accounts = [open('a', 'u'), open('b', 'u'), open('c')].map(({ account }) => account)
      accounts.forEach((account, i) => account.add(1000 * (i + 1)))
      expect(ledger.used).to.equal(3 * BASE + 6000)
      accounts[1]!.moveTo('c')
      expect(imbalanceOf(ledger)).to.equal(null)
      for (const account of accounts) account.close()
      expect(ledger.used).to.equal(0)
      for (const account of accounts) account.add(-1000)
      expect([ledger.used, ledger.accounts]).to.deep.equal([0, 0])
    })

    it('one connection past its share waits and is refused; others are not touched', () => {
      const { account: greedy } = open('greedy')
      const { account: other } = open('other')
      other.add(MIB)
      greedy.add(ledger.connectionShare + 1)
      expect([greedy.mustWait, greedy.isRefused]).to.deep.equal([true, true])
      expect([other.mustWait, other.isRefused]).to.deep.equal([false, false])
    })

    it('connections of a user past its share wait, but not those with little', () => {
      const many = Array.from({ length: 4 }, (_, i) => open(`a${i}`, 'a').account)
      for (const account of many) account.add(10 * MIB)
      const little = open('little', 'a').account
      const other = open('other', 'b').account
      little.add(10_000)
      other.add(5 * MIB)
      expect(many.map((account) => account.mustWait)).to.deep.equal([true, true, true, true])
      expect([little.mustWait, other.mustWait]).to.deep.equal([false, false])
    })

    it('all who have yet to show a token share a small part', () => {
      const unauthenticated = open('unauthenticated', UNAUTHENTICATED).account
      unauthenticated.add(5 * MIB)
      expect(unauthenticated.mustWait).to.equal(true)
      unauthenticated.moveTo('token')
      expect(unauthenticated.mustWait).to.equal(false)
    })

    it('at the limit the largest of the largest user are cut, down to where the others may go on', () => {
      const of = (user: string, sizes: number[]): Account[] =>
        sizes.map((mib, i) => {
          const { account } = open(`${user}${i}`, user)
          account.add(mib * MIB)
          return account
        })
      of('a', [5, 15, 10, 12])
      of('b', [14])
      of('c', [10])
      expect(told, 'not in the middle of a turn').to.deep.equal([])
      pass(50)
      expect(told).to.deep.equal(['a1 is cut'])
      expect(ledger.cut).to.equal(1)
      expect(ledger.used).to.be.at.most(ledger.limit)
    })

    it('who waits is told when there is room', () => {
      const one = open('one', 'u').account
      const two = open('two', 'u').account
      one.add(15 * MIB)
      two.add(15 * MIB)
      const three = open('three', 'u').account
      three.add(5 * MIB)
      three.wait()
      pass(1000)
      expect(told).to.deep.equal([])
      one.close()
      pass(50)
      expect(told).to.deep.equal(['three resumes'])
    })

    it('those that do not move while others wait are cut, the largest first; those that move are not', () => {
      const still = open('still', 'u')
      const moving = open('moving', 'u')
      still.account.add(15 * MIB)
      moving.account.add(16 * MIB - 2 * BASE)
      const third = open('third', 'u')
      third.account.add(3 * MIB)
      for (const { account } of [still, moving, third]) account.wait()
      for (let i = 0; i < 60; i++) {
        moving.holder.movedBytes += MIB
        third.holder.movedBytes += MIB
        pass(100)
      }
      expect(told[0]).to.equal('still is cut')
      expect(told).to.not.include('moving is cut')
    })
  })

  describe('inputTimeout', () => {
    /** Sent in each second; when the client is cut, or null. */
    const cutAfter = (perSecond: (second: number) => number, seconds = 300): number | null => {
      const inputTimeout = new InputTimeout(0)
      let bytes = 0
      for (let second = 1; second <= seconds; second++) {
        bytes += perSecond(second)
        if (inputTimeout.isSpent(second * 1000, true, bytes, 0)) return second
      }
      return null
    }

    it('a drip of single bytes ends after ten seconds', () => {
      expect(cutAfter(() => 1)).to.equal(11)
    })
    it('nothing at all ends after ten', () => {
      expect(cutAfter(() => 0)).to.equal(10)
    })
    it('a hundred bytes a second may go on', () => {
      expect(cutAfter(() => 100)).to.equal(null)
    })
    it('a producer behind a pipe that sends 8 KB every fifteen seconds may go on', () => {
      expect(cutAfter((second) => (second % 15 === 1 ? 8192 : 0))).to.equal(null)
    })
    it('what was sent buys a minute, not more', () => {
      expect(cutAfter((second) => (second === 1 ? 1_000_000_000 : 0))).to.be.within(60, 61)
    })
    it('a whole command gives back ten seconds', () => {
      const inputTimeout = new InputTimeout(0)
      for (let second = 1; second < 100; second++) {
        expect(inputTimeout.isSpent(second * 1000, true, second, second)).to.equal(false)
      }
    })
  })

  describe('connectionLimit', () => {
    const connection = (cut: string[], name: string, mayBeDisplaced: boolean): LimitedConnection => ({
      mayBeDisplaced: () => mayBeDisplaced,
      cut: () => void cut.push(name),
    })

    it('where all are taken the oldest that has asked for nothing gives way; then newcomers are refused', () => {
      const cut: string[] = []
      const connectionLimit = new ConnectionLimit(4, () => 0)
      const names = ['busy', 'idle 1', 'idle 2', 'busy 2']
      for (const name of names)
        expect(connectionLimit.take('resp', connection(cut, name, name.startsWith('idle')))).to.equal(true)
      for (const taken of [true, true, false])
        expect(connectionLimit.take('resp', connection(cut, 'new', false))).to.equal(taken)
      expect(cut).to.deep.equal(['idle 1', 'idle 2'])
      expect([connectionLimit.size, connectionLimit.refused, connectionLimit.displaced]).to.deep.equal([
        4, 1, 2,
      ])
    })

    it('one server does not take the last of them', () => {
      const connectionLimit = new ConnectionLimit(32, () => 0)
      let resp = 0
      while (connectionLimit.take('resp', connection([], '', false))) resp++
      expect(resp).to.equal(30)
      expect(connectionLimit.take('http', connection([], '', false))).to.equal(true)
    })
  })

  it('connections stay below the descriptors, with some left for each node', () => {
    expect(connectionsWithin(1024, 4)).to.equal(1024 - 64 - 32)
    expect(connectionsWithin(10, 4)).to.equal(1)
    const asked = { maxClientMemory: 1000, maxConnections: 5, workers: 1 as const }
    expect(clientLimits(asked, 4)).to.include({ memoryBytes: 1000, connections: 5 })
    const tooMany = clientLimits({ ...asked, maxConnections: 1e9 }, 4)
    expect(tooMany.connections).to.be.below(1e9)
  })
})
