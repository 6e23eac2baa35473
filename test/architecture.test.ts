/**
 * The architecture, checked on the import graph of src/, type imports included (lint's import-x/no-cycle does not see
 * those): no import circle, and arrows between layers point down only.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { expect } from 'chai'
import ts from 'typescript'

/** From the top down. A file imports from its own layer and from those below. */
const LAYERS = [
  ['main.ts', 'index.ts', 'health-check.ts'],
  ['app/'],
  ['telemetry/'],
  ['servers/'],
  ['commands/'],
  ['coordinator/', 'repair/'],
  ['cluster/'],
  ['nodes/'],
  ['config/'],
  ['core/'],
]

/** Of the coordinator, what servers and commands may see. */
const PORT = new Set(['coordinator/api.ts', 'coordinator/promises.ts'])

const SRC = new URL('../src/', import.meta.url)
const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
/** By file, what it imports: files of src as paths in it, packages by name. */
const imports = new Map(files.map((file) => [file, importsOf(file)]))
const graph = new Map(
  [...imports].map(([file, targets]) => [file, targets.filter((target) => imports.has(target))]),
)

function importsOf(file: string): string[] {
  const text = readFileSync(new URL(file, SRC), 'utf8')
  return ts
    .preProcessFile(text, true, true)
    .importedFiles.map(({ fileName }) => fileName)
    .map((name) => (name.startsWith('.') ? posix.join(posix.dirname(file), name) : name))
}

/** From files to what they import, as far as both names match. */
function arrowsFrom(from: RegExp, to = /./): [string, string][] {
  return [...imports]
    .filter(([file]) => from.test(file))
    .flatMap(([file, targets]) =>
      targets.filter((target) => to.test(target)).map((target): [string, string] => [file, target]),
    )
}

/** A path from the file back to itself, or null. */
function circleThrough(start: string): string[] | null {
  const seen = new Set<string>()
  const walk = (file: string, path: string[]): string[] | null => {
    for (const next of graph.get(file) ?? []) {
      if (next === start) return [...path, start]
      if (seen.has(next)) continue
      seen.add(next)
      const found = walk(next, [...path, next])
      if (found) return found
    }
    return null
  }
  return walk(start, [start])
}

function layerOf(file: string): number {
  return LAYERS.findIndex((places) => places.some((place) => file === place || file.startsWith(place)))
}

describe('architecture', () => {
  it('sees the whole graph', () => {
    expect(files.length).to.be.greaterThan(150)
    const arrows = [...graph.values()].flat()
    expect(arrows.length).to.be.greaterThan(500)
    const missing = [...imports.values()]
      .flat()
      .filter((target) => target.endsWith('.ts') && !imports.has(target))
    expect(missing).to.deep.equal([])
  })

  it('has no import circles, type imports included', () => {
    const circles = files.map(circleThrough).filter((circle) => circle !== null)
    expect(circles.map((circle) => circle.join(' → '))).to.deep.equal([])
  })

  it('knows the layer of every file', () => {
    expect(files.filter((file) => layerOf(file) < 0)).to.deep.equal([])
  })

  it('imports downward only', () => {
    const upward = files.flatMap((file) =>
      graph
        .get(file)!
        .filter((target) => layerOf(target) >= 0 && layerOf(target) < layerOf(file))
        .map((target) => `${file} → ${target}`),
    )
    expect(upward).to.deep.equal([])
  })

  it('keeps servers apart', () => {
    const serverOf = (file: string) => /^servers\/([^/]+)\//.exec(file)?.[1]
    const sideways = files.flatMap((file) => {
      const own = serverOf(file)
      return graph
        .get(file)!
        .filter((target) => own && serverOf(target) && serverOf(target) !== own)
        .map((target) => `${file} → ${target}`)
    })
    expect(sideways).to.deep.equal([])
  })

  it('lets servers and commands see of the coordinator its port, and nothing below it', () => {
    const behind = arrowsFrom(/^(servers|commands)\//).filter(([, target]) => {
      if (target.startsWith('coordinator/')) return !PORT.has(target)
      return target.startsWith('cluster/') || target.startsWith('nodes/')
    })
    expect(behind.map((arrow) => arrow.join(' → '))).to.deep.equal([])
  })

  it('keeps sockets out of the commands', () => {
    const used = arrowsFrom(/^commands\//, /^node:(net|tls|http|https)$/)
    expect(used.map((arrow) => arrow.join(' → '))).to.deep.equal([])
  })
})
