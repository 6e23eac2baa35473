import { Counter, type Registry } from 'prom-client'
import type { ServerName, TokenTries } from './token-tries.ts'

export function registerTokenMetrics(registry: Registry, tries: TokenTries): void {
  new Counter({
    name: 'rondo_wrong_tokens_total',
    help: 'Wrong tokens that clients sent, by server.',
    labelNames: ['server'] as const,
    registers: [registry],
    collect() {
      this.reset()
      for (const server of Object.keys(tries.counts) as ServerName[])
        this.inc({ server }, tries.counts[server])
    },
  })
}
