/**
 * The HTTP server on memory nodes as a process of its own. It tells its port, and when it is asked, what it holds after a
 * garbage collection.
 */
import { httpConnectionsOf, startRondo } from '../../support/rondo.ts'
import type { Holdings } from '../server-process.ts'
import { DOOR_ENV } from '../oracle.ts'
import { TOKENS } from './streams.ts'

export const HTTP_ENV = {
  ...DOOR_ENV,
  MEMORY_NODE_MAX_BYTES: String(8 * 1024 * 1024),
  DATA_TOKEN: TOKENS.data,
  ADMIN_TOKEN: TOKENS.admin,
}

const running = await startRondo(HTTP_ENV)
process.on('disconnect', () => process.exit())
process.on('message', () => {
  void httpConnectionsOf(running).then((connections) => {
    global.gc!()
    global.gc!()
    const { heapUsed, external } = process.memoryUsage()
    const holdings: Holdings = { heapBytes: heapUsed + external, connections }
    process.send!(holdings)
  })
})
process.send!({ port: running.ports.socket })
