/** The token in the metadata of a call. */
import type { Metadata } from '@grpc/grpc-js'
import { plainAddress } from '../../config/client-address.ts'
import { RondoError } from '../../core/errors.ts'
import { isAmong } from '../tokens.ts'
import { WrongToken } from '../wrong-token.ts'
import type { GrpcServerOptions } from './options.ts'

/**
 * Null, or why it does not open the keys.
 *
 * @param peer address of the connection's other end
 */
export function checkToken(
  metadata: Metadata,
  peer: string | undefined,
  { tokens, tries, proxies }: Pick<GrpcServerOptions, 'tokens' | 'tries' | 'proxies'>,
): RondoError | null {
  const sent = metadata.get('authorization')
  if (sent.length === 0) {
    return new RondoError(
      'UNAUTHORIZED',
      'This needs a token: send the metadata "authorization: Bearer <token>".',
    )
  }
  const token = sent.length === 1 ? /^Bearer ([\x21-\x7e]{1,512})$/i.exec(String(sent[0]))?.[1] : undefined
  if (token === undefined) {
    return new RondoError(
      'UNAUTHORIZED',
      'The metadata "authorization" is malformed: it must be "Bearer <token>", and no other scheme is offered.',
    )
  }
  if (isAmong(tokens.data, token)) return null
  const client = proxies.clientOf(plainAddress(peer), metadata.get('x-forwarded-for').map(String))
  return new WrongToken(tries.note(client, 'grpc'))
}
