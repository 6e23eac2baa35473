/** Map nodes under the contract. */
import {
  GRACE_MS,
  HINTS_UNDER_TEST,
  type Node,
  type NodeFactory,
} from '../../src/library/node-contract/index.ts'
import { MapNode, MapServer } from './map-node.ts'
import { realClock, realTimers } from './real-time.ts'

export type Make = (server: MapServer) => Node

export const OPTIONS = {
  id: 'map',
  graceMs: GRACE_MS,
  maxHints: HINTS_UNDER_TEST,
  clock: realClock,
  timers: realTimers,
}
export const mapNode: Make = (server) => new MapNode(server, OPTIONS)

export function factoryOf(make: Make): NodeFactory {
  return {
    create: () => {
      const server = new MapServer(realClock)
      const node = make(server)
      const done = <T>(value: T) => Promise.resolve(value)
      return done({
        node,
        close: () => node.close(),
        server: {
          setRaw: (key, bytes, ttlMs = Infinity) => done(server.set(key, bytes, ttlMs)),
          getRaw: (key) => done(server.get(key)),
          ttl: (key) => done(server.leftMs(key)),
          deleteRaw: (key) => done(server.delete(key)),
          flush: () => done(server.clear()),
          restart: () => done(server.restart()),
        },
      })
    },
  }
}
