// The file of a snapshot: what was written comes back, and anything else is refused before a record is read.
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { expect } from 'chai'
import { NO_STREAM } from '../../src/commands/streams/stored.ts'
import { KIND_HASH, KIND_STREAM, KIND_VALUE } from '../../src/core/codec.ts'
import { tagKey } from '../../src/core/tags.ts'
import { SnapshotFile, TOO_LONG } from '../../src/snapshots/file-reader.ts'
import { writeSnapshot } from '../../src/snapshots/file-writer.ts'
import { DamagedSnapshot, parseRecord, recordLine, type SavedRecord } from '../../src/snapshots/format.ts'

const HEADER = { name: 'one', takenAtMs: 1_700_000_000_000, cluster: 'c', epoch: 3, replicas: 2, nodes: 3 }
const LONG = 300_000

const record = (i: number, value = Buffer.from(`value ${i}`)): SavedRecord => ({
  database: i % 16,
  key: Buffer.from([0, 0xff, 0x0a, i & 0xff, i >> 8]),
  kind: KIND_VALUE,
  value,
  version: Buffer.alloc(12, i),
  expiresAtMs: i % 3 === 0 ? 0 : 1_700_000_000_000 + i,
  ...(i % 5 === 0 && { tags: [tagKey(0, Buffer.from('news')), tagKey(3, Buffer.from([0xff, i & 0xff]))] }),
})
const RECORDS = [...Array.from({ length: 500 }, (_, i) => record(i)), record(500, Buffer.alloc(LONG, 'x'))]

describe('the file of a snapshot', () => {
  let folder: string
  let path: string
  let whole: Buffer
  const { signal } = new AbortController()

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rondo-snapshot-file-'))
    async function* lines() {
      for (const one of RECORDS) yield await Promise.resolve({ text: recordLine(one)!, keys: 1 })
    }
    const writer = { host: 'h', pid: 1 }
    const written = await writeSnapshot({
      folder,
      writer,
      header: HEADER,
      lines: lines(),
      signal,
      onBytes: () => undefined,
    })
    path = join(folder, 'one.ndjson.gz')
    whole = readFileSync(path)
    expect(written.fileBytes).to.equal(whole.length)
  })
  after(() => rmSync(folder, { recursive: true }))

  /** What becomes of these bytes as a file: the number of its records, or why it is refused. */
  async function read(bytes: Buffer, mostBytes = 2 * LONG): Promise<number | string> {
    const other = join(folder, 'other.ndjson.gz')
    writeFileSync(other, bytes)
    let file: SnapshotFile | null = null
    try {
      file = await SnapshotFile.open(other)
      await file.verify(signal, () => undefined)
      let count = 0
      for await (const line of file.records(mostBytes, signal)) if (line !== TOO_LONG) count++
      return count
    } catch (error) {
      if (!(error instanceof DamagedSnapshot)) throw error
      return error.message
    } finally {
      await file?.close()
    }
  }
  /** The same text with a change, compressed as a snapshot is. */
  const changed = (first: (text: string) => string, last: (text: string) => string = (text) => text) => {
    const text = gunzipSync(whole).toString()
    const at = text.lastIndexOf('\n', text.length - 2) + 1
    return Buffer.concat([gzipSync(first(text.slice(0, at))), gzipSync(last(text.slice(at)))])
  }

  it('is read as it was written, and by any tool', async () => {
    const file = await SnapshotFile.open(path)
    expect(file.end).to.deep.include({ ...HEADER, keys: RECORDS.length })
    await file.verify(signal, () => undefined)
    const found: SavedRecord[] = []
    for await (const line of file.records(2 * LONG, signal)) found.push(parseRecord(line as string))
    await file.close()
    expect(found).to.deep.equal(RECORDS)
    const lines = gunzipSync(whole).toString().trimEnd().split('\n')
    expect(lines).to.have.length(RECORDS.length + 2)
    for (const line of lines) JSON.parse(line)
    expect(await read(changed((text) => text))).to.equal(RECORDS.length)
  })

  it('skips a line that is longer than any record here can be, without holding it', async () => {
    expect(await read(whole, 1000)).to.equal(RECORDS.length - 1)
  })

  it('is refused wherever it is cut', async () => {
    for (let at = 0; at < whole.length; at += at < whole.length - 400 ? 97 : 1)
      expect(await read(whole.subarray(0, at)), `cut at ${at}`).to.be.a('string')
  })

  it('is refused, or is the same, with any bit flipped', async () => {
    for (let at = 0; at < whole.length; at += at < whole.length - 400 ? 211 : 3) {
      const flipped = Buffer.from(whole)
      flipped[at]! ^= 1 << (at % 8)
      const result = await read(flipped)
      // A few bits of a gzip header say nothing about the contents.
      if (typeof result === 'number')
        expect(gunzipSync(flipped).equals(gunzipSync(whole)), `bit at ${at}`).to.equal(true)
    }
  })

  it('is refused if a record was changed, added or taken away, although it is whole as gzip', async () => {
    const checksum = 'its checksum does not match'
    const without = (text: string) =>
      text
        .split('\n')
        .filter((_, i) => i !== 7)
        .join('\n')
    expect(await read(changed((text) => text.replace('"db":3', '"db":4')))).to.equal(checksum)
    expect(await read(changed(without))).to.be.a('string')
    expect(await read(changed((text) => text + text.slice(-100)))).to.be.a('string')
    const count = (text: string) => text.replace('"keys":501', '"keys":500')
    expect(await read(changed((text) => text, count))).to.equal(
      'it has another number of records than it says',
    )
    expect(await read(Buffer.concat([whole, gzipSync('{"more":1}\n')]))).to.be.a('string')
    expect(
      await read(Buffer.concat([whole, whole.subarray(whole.lastIndexOf('\x1f\x8b\x08', -1, 'latin1'))])),
    ).to.be.a('string')
  })

  it('is refused, with the reason, if it is of another format or program', async () => {
    const later = (text: string) => text.replace('"format":1', '"format":2')
    expect(await read(changed((text) => text, later))).to.equal(
      'its format is 2, and this release reads format 1: use the release that wrote it',
    )
    const other = (text: string) => text.replace('"rondo":"snapshot"', '"redis":"dump"')
    expect(await read(changed((text) => text, other))).to.equal('it is not a snapshot of Rondo')
    const none = 'it has no end: it was cut, or is not a snapshot'
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.from('REDIS0009'),
      Buffer.alloc(50_000),
      Buffer.from('\x1f\x8b\x08', 'latin1'),
    ])
      expect(await read(bytes)).to.equal(none)
    expect(await read(gzipSync('{"a":1}\n'))).to.equal('it is not a snapshot of Rondo')
    expect(await read(gzipSync('hello\n'))).to.equal('a line is not JSON')
    expect(await read(gzipSync(Buffer.alloc(10_000_000)))).to.equal(none)
  })

  it('follows no link, and waits for no pipe', async () => {
    symlinkSync(path, join(folder, 'link.ndjson.gz'))
    const failed = await SnapshotFile.open(join(folder, 'link.ndjson.gz')).catch((error: unknown) => error)
    expect((failed as NodeJS.ErrnoException).code).to.equal('ELOOP')
  })

  it('takes no record that commands could not read', () => {
    const line = recordLine(record(1))!
    const with_ = (change: object) => () =>
      parseRecord(JSON.stringify({ ...(JSON.parse(line) as object), ...change }))
    expect(with_({})).not.to.throw()
    for (const change of [
      { db: -1 },
      { db: 1.5 },
      { key: 5 },
      { value: null },
      { type: 'stream' },
      { type: '__proto__' },
      { version: 'x' },
      { expiresAtMs: -1 },
      { expiresAtMs: 2 ** 48 },
      { type: 'hash', value: Buffer.from([1, 0, 0, 0, 9, 1]).toString('base64') },
      { type: 'set', value: '' },
      { type: 'zset', value: Buffer.from([1, 0, 0, 0, 0]).toString('base64') },
      { type: 'list', value: Buffer.from([1, 255, 255, 255, 255, 255]).toString('base64') },
      { tags: [] },
      { tags: 'MDpuZXdz' },
      { tags: [''] },
      { tags: [null] },
      { tags: [Buffer.from('news').toString('base64')] },
      { tags: [Buffer.from('0:').toString('base64')] },
      { tags: Array.from({ length: 65 }, () => 'MDpuZXdz') },
    ])
      expect(with_(change), JSON.stringify(change)).to.throw(DamagedSnapshot)
    const hash = { ...record(1), kind: KIND_HASH, value: Buffer.from([1, 0, 0, 0, 1, 1, 97, 1, 98]) }
    expect(parseRecord(recordLine(hash)!)).to.deep.equal(hash)
    const stream = { ...record(1), kind: KIND_STREAM, value: NO_STREAM.bytes }
    expect(parseRecord(recordLine(stream)!)).to.deep.equal(stream)
    expect(recordLine({ ...record(1), kind: 1 })).to.equal(null)
  })
})
