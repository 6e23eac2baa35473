import { randomBytes } from 'node:crypto'
import { expect } from 'chai'
import { editsBetween } from '../../src/core/patch.ts'

describe('where a value differs from the one that it replaces', () => {
  const changed = (before: Buffer, at: number, bytes: number) => {
    const after = Buffer.from(before)
    for (let i = at; i < at + bytes; i++) after[i] = after[i]! ^ 0xff
    return after
  }

  it('is what makes the one of the other', () => {
    for (const length of [1, 64, 255, 256, 257, 1000, 5000]) {
      const before = randomBytes(length)
      for (let at = 0; at < length; at += 1 + (length >>> 5)) {
        const after = changed(changed(before, at, 1), length - 1, 1)
        const edits = editsBetween(before, after)
        if (length >= 255) expect(edits, `${length}, ${at}`).to.not.equal(null)
        const made = Buffer.from(before)
        for (const { at: place, bytes } of edits ?? []) bytes.copy(made, place)
        if (edits) expect(made.equals(after), `${length}, ${at}`).to.equal(true)
      }
    }
  })

  it('is not looked for in the whole of a large value that is another one', () => {
    const before = randomBytes(1024 * 1024)
    expect(editsBetween(before, changed(before, 1000, 60 * 1024))).to.have.length(1)
    expect(editsBetween(before, changed(before, 1000, 70 * 1024))).to.equal(null)
    expect(editsBetween(before, changed(before, 0, before.length))).to.equal(null)
  })
})
