/** What other programs may import: the ring as a library, and a coordinator to embed. */
export { Ring, type RingNode, type RingOptions } from './core/ring.ts'
export { tokenOf } from './core/token.ts'
export { RondoError, type ErrorCode } from './core/errors.ts'
export { loadConfig, type Config } from './config/config.ts'
export type { Environment } from './config/environment.ts'
export type { HttpApp } from './servers/http/http-server.ts'
export { Coordinator } from './coordinator/coordinator.ts'
export { createApp, Rondo, type RondoOptions } from './app/rondo.ts'
