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
  ['library/'],
  ['app/'],
  ['telemetry/'],
  ['servers/'],
  ['snapshots/'],
  ['scripts/'],
  ['commands/'],
  ['loader/'],
  ['coordinator/', 'repair/'],
  ['cluster/'],
  ['nodes/'],
  ['scripts/lua/', 'config/'],
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
  return importedBy(textOf(file)).map((name) =>
    name.startsWith('.') ? posix.join(posix.dirname(file), name) : name,
  )
}

function documentOf(path: string): string {
  return readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')
}

function textOf(file: string): string {
  return readFileSync(new URL(file, SRC), 'utf8')
}

/** Names of modules, dynamic imports with a constant name included. */
function importedBy(text: string): string[] {
  return ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName)
}

/** Commands compute. Whatever reaches a socket, a file or another process is passed in. */
const PACKAGES_OF_COMMANDS = ['hash-wasm', 'lru-cache']
const GLOBALS_OUTSIDE_COMMANDS = ['fetch', 'WebSocket', 'EventSource', 'process', 'require', 'globalThis']

/** What a file of commands/ must not use: modules that are not allowed, or not known, and globals. */
function forbiddenIn(text: string): string[] {
  const modules = importedBy(text).filter(
    (name) => !name.startsWith('.') && !PACKAGES_OF_COMMANDS.includes(name),
  )
  const others: string[] = []
  const walk = (node: ts.Node): void => {
    if (
      ts.isCallExpression(node) &&
      node.expression.kind === ts.SyntaxKind.ImportKeyword &&
      !ts.isStringLiteral(node.arguments[0]!)
    )
      others.push('import() of a computed name')
    const isName =
      (ts.isPropertyAccessExpression(node.parent) || ts.isPropertyAssignment(node.parent)) &&
      node.parent.name === node
    if (ts.isIdentifier(node) && !isName && GLOBALS_OUTSIDE_COMMANDS.includes(node.text))
      others.push(node.text)
    ts.forEachChild(node, walk)
  }
  ts.forEachChild(ts.createSourceFile('', text, ts.ScriptTarget.Latest, true), walk)
  return [...modules, ...others]
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
  return LAYERS.findLastIndex((places) => places.some((place) => file === place || file.startsWith(place)))
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

  it('is what CONTRIBUTING.md draws and decision 31 lists', () => {
    const names = LAYERS.map((places) => places.map((place) => place.replace(/\.ts$|\/$/g, '')))
    const drawn = /^main, index → .*$/m.exec(documentOf('CONTRIBUTING.md'))![0]
    const [[...programs], ...others] = names as [string[], ...string[][]]
    programs.pop() // the health check is a program of its own
    expect(drawn.split(' → ').map((places) => places.split(', '))).to.deep.equal([programs, ...others])
    const listed = [...documentOf('docs/decisions/0031-layers.md').matchAll(/^\| (`.*?) \|/gm)].map(
      ([, places]) => [...places!.matchAll(/`([^`]+)`/g)].map(([, place]) => place),
    )
    expect(listed).to.deep.equal(LAYERS)
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

  it('lets servers, snapshots, commands and loading see of the coordinator its port, and nothing below it', () => {
    const behind = arrowsFrom(/^(servers|snapshots|scripts|commands|loader)\//).filter(([, target]) => {
      if (target.startsWith('coordinator/')) return !PORT.has(target)
      return target.startsWith('cluster/') || target.startsWith('nodes/')
    })
    expect(behind.map((arrow) => arrow.join(' → '))).to.deep.equal([])
  })

  it('keeps commands to computing: they import only what is named here, and use no global that reaches outside', () => {
    const used = files
      .filter((file) => file.startsWith('commands/'))
      .flatMap((file) => forbiddenIn(textOf(file)).map((what) => `${file} → ${what}`))
    expect(used).to.deep.equal([])
  })

  for (const [text, what] of [
    ["await import('net')", 'net'],
    ["import dgram from 'dgram'", 'dgram'],
    ["import { connect } from 'node:http2'", 'node:http2'],
    ["import type { ChildProcess } from 'node:child_process'", 'node:child_process'],
    ["export * from 'ioredis'", 'ioredis'],
    ["import { randomBytes } from 'node:crypto'", 'node:crypto'],
    ["await fetch('http://localhost')", 'fetch'],
    ["await globalThis.fetch('http://localhost')", 'globalThis'],
    ["process.binding('tcp_wrap')", 'process'],
    ["require('net')", 'require'],
    ["const name = 'net'\nawait import(name)", 'import() of a computed name'],
  ] as const) {
    it(`would find it in commands: ${text.replace('\n', '; ')}`, () => {
      expect(forbiddenIn(text)).to.include(what)
    })
  }
})
