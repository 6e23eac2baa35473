/** Runs commands for a request, and counts what they hold until it is answered. */
import { codedErrorOf } from '../../../commands/errors.ts'
import { RespError, type Reply } from '../../../commands/reply.ts'
import { answerBytes } from '../../../commands/run/answer-limit.ts'
import { RondoError } from '../../../core/errors.ts'
import { isRead, type OfferedCommand } from '../../command-host.ts'
import { JSON_TYPE, type Exchange } from '../exchange.ts'
import { Pieces } from '../json-text.ts'
import type { Work } from '../turns.ts'
import type { RequestCaller } from './caller.ts'
import { pushReply, type TextForm } from './reply-json.ts'

/** Runs it and sends `{"result": …}`. @throws RondoError if its reply is an error */
export async function runAndSend(
  exchange: Exchange,
  caller: RequestCaller,
  command: OfferedCommand,
  args: readonly Buffer[],
  form: TextForm,
  work: Work,
): Promise<void> {
  const reply = await command.execute(caller, args)
  if (reply instanceof RespError) throw codedErrorOf(reply)
  await orLost(isRead(command), async () => {
    const refused = exchange.hold(answerBytes(reply))
    if (refused) throw refused
    const pieces = new Pieces()
    await pushResult(pieces, reply, form, work)
    await sendJson(exchange, pieces)
  })
}

/** An answer that cannot be sent for lack of memory must not say that nothing was changed. */
export async function orLost(isOfReads: boolean, send: () => Promise<void>): Promise<void> {
  try {
    await send()
  } catch (error) {
    if (isOfReads || !(error instanceof RondoError)) throw error
    const sentence = `${error.message} What was asked for was done, and only the answer is lost.`
    throw new RondoError(error.code, sentence, { outcome: 'unknown' })
  }
}

/** `{"result": …}`, or `{"error": "…"}`. */
export async function pushResult(into: Pieces, reply: Reply, form: TextForm, work: Work): Promise<void> {
  if (reply instanceof RespError) {
    await pushReply(into, reply, form, work)
    return
  }
  into.push('{"result":')
  await pushReply(into, reply, form, work)
  into.push('}')
}

export async function sendJson(exchange: Exchange, pieces: Pieces): Promise<void> {
  pieces.flush()
  await exchange.sendPieces(200, ['Content-Type', JSON_TYPE], pieces.all)
}
