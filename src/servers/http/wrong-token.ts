/** The answer to a wrong token over HTTP: held back, one for each connection. */
import type { Socket } from 'node:net'
import { RondoError } from '../../core/errors.ts'
import type { Refusal, TokenTries } from '../token-tries.ts'
import type { Exchange } from './exchange.ts'

export class WrongToken extends RondoError {
  readonly refusal: Refusal

  constructor(refusal: Refusal) {
    if (refusal.tooMany) {
      super(
        'RATE_LIMITED',
        'The token is wrong, and so were many others from this address. A right one is accepted.',
      )
    } else super('UNAUTHORIZED', 'The token is wrong: it is not one of those that are valid for this.')
    this.refusal = refusal
  }
}

/** Connections on which an answer is held back. */
const holding = new WeakSet<Socket>()

/** Answers a request that the guard refused. */
export function refuse(exchange: Exchange, error: RondoError, tries: TokenTries): void {
  if (!(error instanceof WrongToken)) {
    exchange.fail(error)
    return
  }
  const { socket } = exchange.req
  // Pipelined behind another wrong token: one answer is held back, and with it the connection ends.
  if (error.refusal.close || holding.has(socket)) {
    exchange.fail(error, { close: true })
    return
  }
  holding.add(socket)
  const giveUp = tries.hold(error.refusal.delayMs, () => {
    holding.delete(socket)
    exchange.fail(error)
  })
  exchange.res.once('close', giveUp)
}
