/**
 * Positions on Earth as scores of a sorted set, bit for bit as in Redis: latitude and longitude as parts of their ranges, 26
 * bits each, interleaved (a latitude's bits are the lower ones). Members that are near each other have scores with the same
 * first bits, so what is within a distance is found in nine ranges of scores: a cell, and those around it.
 *
 * Sines and cosines are not the same in the last bit on all machines, so neither are distances.
 */
export interface Position {
  readonly longitude: number
  readonly latitude: number
}

/** Where something is looked for. */
export interface Area extends Position {
  /** Metres a unit. */
  readonly unit: number
  readonly radius: number | null
  /** Width and height, if there is no radius. */
  readonly box: readonly [number, number]
}

/** Scores from `min` up to, without, `max`. */
export type ScoreRange = readonly [min: number, max: number]

interface Range {
  readonly min: number
  readonly max: number
}

export const LONGITUDES: Range = { min: -180, max: 180 }
/** Of the Mercator projection: there are no poles. */
export const LATITUDES: Range = { min: -85.05112878, max: 85.05112878 }
/** Of geohash.org. */
const ALL_LATITUDES: Range = { min: -90, max: 90 }
const STEPS = 26
const EARTH_RADIUS_M = 6372797.560856
const MERCATOR_MAX_M = 20037726.37
const RADIANS = Math.PI / 180
const ALPHABET = '0123456789bcdefghjkmnpqrstuvwxyz'

/** The cell of a grid: so many steps to the north and to the east, of 2^steps. */
interface Cell {
  readonly north: number
  readonly east: number
  readonly steps: number
}

function cellOf({ longitude, latitude }: Position, steps: number, latitudes = LATITUDES): Cell {
  const place = (value: number, { min, max }: Range) => Math.floor(((value - min) / (max - min)) * 2 ** steps)
  return { north: place(latitude, latitudes), east: place(longitude, LONGITUDES), steps }
}

/** Interleaved; a position at the very end of a range has a bit more. */
function bitsOf({ north, east }: Cell): bigint {
  let bits = 0n
  for (let i = 0; i <= STEPS; i++) {
    const two = (BigInt(Math.floor(east / 2 ** i) % 2) << 1n) | BigInt(Math.floor(north / 2 ** i) % 2)
    bits |= two << BigInt(2 * i)
  }
  return bits
}

export function scoreOf(position: Position): number {
  return Number(bitsOf(cellOf(position, STEPS)))
}

/** The middle of its cell; of any score, as Redis converts it to 64 bits. */
export function positionOf(score: number): Position {
  const isUsual = score >= 0 && score < 2 ** 53
  const bits = isUsual ? 0n : bitsOfAny(score)
  const high = isUsual ? Math.floor(score / 2 ** 32) : Number(bits >> 32n)
  const low = isUsual ? (score % 2 ** 32) >>> 0 : Number(bits & 0xffffffffn)
  const north = evenBits(high) * 2 ** 16 + evenBits(low)
  const east = evenBits(high >>> 1) * 2 ** 16 + evenBits(low >>> 1)
  const middle = (range: Range, place: number) =>
    clamped((edge(range, place, STEPS) + edge(range, (place + 1) % 2 ** 32, STEPS)) / 2, range)
  return { longitude: middle(LONGITUDES, east), latitude: middle(LATITUDES, north) }
}

/** What a C compiler for x86-64 makes of it. */
function bitsOfAny(score: number): bigint {
  const isLarge = score >= 2 ** 63
  const rest = isLarge ? score - 2 ** 63 : score
  const fits = rest >= -(2 ** 63) && rest < 2 ** 63
  const bits = fits ? BigInt.asUintN(64, BigInt(Math.trunc(rest))) : 1n << 63n
  return isLarge ? bits ^ (1n << 63n) : bits
}

/** Every second bit of 32, together. */
function evenBits(bits: number): number {
  let found = bits & 0x55555555
  found = (found | (found >>> 1)) & 0x33333333
  found = (found | (found >>> 2)) & 0x0f0f0f0f
  found = (found | (found >>> 4)) & 0x00ff00ff
  return (found | (found >>> 8)) & 0x0000ffff
}

function edge({ min, max }: Range, place: number, steps: number): number {
  return min + (place / 2 ** steps) * (max - min)
}

function clamped(value: number, { min, max }: Range): number {
  return Math.min(Math.max(value, min), max)
}

/** As geohash.org writes it, 11 characters; the last one is always 0. */
export function geohashOf(position: Position): string {
  const bits = bitsOf(cellOf(position, STEPS, ALL_LATITUDES))
  const letters = Array.from({ length: 10 }, (_, i) => {
    return ALPHABET[Number((bits >> BigInt(2 * STEPS - 5 * (i + 1))) & 0x1fn)]!
  })
  return `${letters.join('')}0`
}

/** In metres, along a great circle. */
export function distanceBetween(one: Position, other: Position): number {
  const [lat1, lat2] = [one.latitude * RADIANS, other.latitude * RADIANS]
  const u = Math.sin((lat2 - lat1) / 2)
  const v = Math.sin((other.longitude * RADIANS - one.longitude * RADIANS) / 2)
  return 2 * EARTH_RADIUS_M * Math.asin(Math.sqrt(u * u + Math.cos(lat1) * Math.cos(lat2) * v * v))
}

/** The distance from its middle in metres, if the position is within; otherwise null. */
export function distanceWithin(area: Area, position: Position): number | null {
  if (area.radius === null) {
    const [width, height] = area.box
    const { longitude } = area
    const east = distanceBetween(position, { longitude, latitude: position.latitude })
    if (east > (width * area.unit) / 2) return null
    const north = distanceBetween(position, { longitude: position.longitude, latitude: area.latitude })
    if (north > (height * area.unit) / 2) return null
    return distanceBetween(area, position)
  }
  const distance = distanceBetween(area, position)
  return distance > area.radius * area.unit ? null : distance
}

// ---- the cells in which it is looked for

/** In Redis's order, in which results are found: the cell itself, then these. */
const AROUND: readonly (readonly [north: number, east: number])[] = [
  [1, 0],
  [-1, 0],
  [0, 1],
  [0, -1],
  [1, 1],
  [1, -1],
  [-1, 1],
  [-1, -1],
]

export function rangesAround(area: Area): ScoreRange[] {
  const bounds = boundsOf(area)
  const [width, height] = area.box
  const radius = area.radius ?? Math.sqrt((width / 2) * (width / 2) + (height / 2) * (height / 2))
  let cell = cellOf(area, stepsFor(radius * area.unit, area.latitude))
  if (cell.steps > 1 && reachesBeyond(cell, bounds)) cell = cellOf(area, cell.steps - 1)
  const { south, north, west, east } = edgesOf(cell)
  const isUseless = ([toNorth, toEast]: readonly [number, number]) =>
    cell.steps >= 2 &&
    ((toNorth < 0 && south < bounds.south) ||
      (toNorth > 0 && north > bounds.north) ||
      (toEast < 0 && west < bounds.west) ||
      (toEast > 0 && east > bounds.east))
  const cells = [cell, ...AROUND.flatMap((move) => (isUseless(move) ? [] : [moved(cell, move)]))]
  const ranges = cells.map((one) => scoresIn(one))
  // In a coarse grid several are the same: as in Redis, the first one may be there twice.
  return ranges.filter(([min], i) => i < 2 || min !== ranges[i - 1]![0])
}

/** Steps that make cells about as large as the area. */
function stepsFor(metres: number, latitude: number): number {
  if (metres === 0) return STEPS
  let steps = 1
  for (let reach = metres; reach < MERCATOR_MAX_M; reach *= 2) steps++
  steps -= 2
  // Cells are narrower towards the poles.
  if (Math.abs(latitude) > 66) steps--
  if (Math.abs(latitude) > 80) steps--
  return Math.min(Math.max(steps, 1), STEPS)
}

interface Bounds {
  readonly west: number
  readonly south: number
  readonly east: number
  readonly north: number
}

function boundsOf({ longitude, latitude, unit, radius, box: [boxWidth, boxHeight] }: Area): Bounds {
  const height = unit * (radius ?? boxHeight / 2)
  const width = unit * (radius ?? boxWidth / 2)
  const toNorth = height / EARTH_RADIUS_M / RADIANS
  // Where a degree is shortest.
  const outer = latitude < 0 ? latitude - toNorth : latitude + toNorth
  const toEast = width / EARTH_RADIUS_M / Math.cos(outer * RADIANS) / RADIANS
  return {
    west: longitude - toEast,
    south: latitude - toNorth,
    east: longitude + toEast,
    north: latitude + toNorth,
  }
}

function edgesOf({ north, east, steps }: Cell): Bounds {
  return {
    west: edge(LONGITUDES, east, steps),
    south: edge(LATITUDES, north, steps),
    east: edge(LONGITUDES, east + 1, steps),
    north: edge(LATITUDES, north + 1, steps),
  }
}

/** It is not within the cells around this one. */
function reachesBeyond(cell: Cell, bounds: Bounds): boolean {
  return (
    edgesOf(moved(cell, [1, 0])).north < bounds.north ||
    edgesOf(moved(cell, [-1, 0])).south > bounds.south ||
    edgesOf(moved(cell, [0, 1])).east < bounds.east ||
    edgesOf(moved(cell, [0, -1])).west > bounds.west
  )
}

/** Beyond the end of the grid it begins again. */
function moved({ north, east, steps }: Cell, [toNorth, toEast]: readonly [number, number]): Cell {
  const size = 2 ** steps
  const next = (place: number, by: number) => (by === 0 ? place : (place + by + size) % size)
  return { north: next(north, toNorth), east: next(east, toEast), steps }
}

function scoresIn(cell: Cell): ScoreRange {
  const bits = bitsOf(cell)
  const unused = BigInt(2 * (STEPS - cell.steps))
  return [Number(bits << unused), Number((bits + 1n) << unused)]
}
