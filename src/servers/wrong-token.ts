import { RondoError } from '../core/errors.ts'
import type { Refusal } from './token-tries.ts'

/** The answer to a wrong token, with how it is to be sent. */
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
