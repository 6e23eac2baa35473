/** HELLO and AUTH. The users are `default`, with DATA_TOKEN as its password, and `admin`, with ADMIN_TOKEN. */
import { integerArgument, shown, word } from '../../../commands/arguments.ts'
import { isAmong } from '../../tokens.ts'
import type { Refusal } from '../../token-tries.ts'
import { claimEverything } from '../connection/claims.ts'
import { checkName } from './client.ts'
import { USERS, type Client, type Answer, type Command } from '../model.ts'
import { OK, RespError, RespMap, type Protocol, type Reply } from '../../../commands/reply.ts'
import { REDIS_VERSION } from './info.ts'
import { immediate, outside, type SessionCommand } from './session-command.ts'
import { ReplySlot } from '../connection/slot.ts'
import { CommandError, SYNTAX_ERROR } from '../../../commands/step.ts'

const DEFAULT = Buffer.from('default')
const WRONG_PASSWORD = 'WRONGPASS invalid username-password pair or user is disabled.'
const NO_PASSWORD =
  'ERR AUTH <password> called without any password configured for the default user. ' +
  'Are you sure your configuration is correct?'
const HELLO_FIRST =
  'NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> ' +
  'option can be used to authenticate the client and select the RESP protocol version at the same time'

function auth(client: Client, args: readonly Buffer[]): Reply {
  if (args.length > 3) throw new CommandError(SYNTAX_ERROR)
  if (args.length === 2 && !client.server.needsPassword) throw new CommandError(NO_PASSWORD)
  const [user, password] = args.length === 2 ? [DEFAULT, args[1]!] : [args[1]!, args[2]!]
  logIn(client, user, password)
  return OK
}

/** @throws CommandError */
function logIn(client: Client, user: Buffer, password: Buffer): void {
  const { needsPassword, options } = client.server
  const name = USERS.find((one) => user.equals(Buffer.from(one)))
  if (name === 'default' && !needsPassword) {
    client.authenticate(name)
    return
  }
  const tokens = name === 'admin' ? options.tokens.admin : options.tokens.data
  // Where nobody could be right, nobody guesses.
  if (!needsPassword && tokens.length === 0) throw new CommandError(WRONG_PASSWORD)
  const isRight = isAmong(tokens, password)
  if (name === undefined || !isRight) throw new WrongPassword(options.tries.note(client.address, 'resp'))
  client.authenticate(name)
}

class WrongPassword extends CommandError {
  readonly refusal: Refusal

  constructor(refusal: Refusal) {
    super(WRONG_PASSWORD)
    this.refusal = refusal
  }
}

/**
 * Replies at once, except to a wrong password: that reply is delayed, and later commands wait for it. Inside MULTI nothing
 * is delayed, because the client is already authenticated.
 */
function holdingWrong(answer: Answer): Command['run'] {
  return (client, args, command) => {
    let reply: Reply
    try {
      reply = answer(client, args)
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      reply = new RespError(error.message)
      if (error instanceof WrongPassword) {
        refuse(client, command, reply, error.refusal)
        return
      }
    }
    client.say(reply, command)
  }
}

function refuse(client: Client, command: Command, reply: Reply, { delayMs, close }: Refusal): void {
  if (close) {
    client.say(reply, command)
    client.end()
    return
  }
  const slot = new ReplySlot(client, command)
  slot.isMeasured = false // its time is ours
  client.add(slot)
  const release = claimEverything(client)
  client.server.options.tries.hold(delayMs, () => {
    slot.answer(reply)
    release()
  })
}

function hello(client: Client, args: readonly Buffer[]): Reply {
  let protocol: Protocol = client.protocol
  if (args.length > 1) {
    const given = integerArgument(args[1]!, 'ERR Protocol version is not an integer or out of range')
    if (given !== 2 && given !== 3) throw new CommandError('NOPROTO unsupported protocol version')
    protocol = given
  }
  for (let i = 2; i < args.length; i++) {
    const option = word(args[i]!)
    const left = args.length - 1 - i
    if (option === 'AUTH' && left >= 2) {
      logIn(client, args[i + 1]!, args[i + 2]!)
      i += 2
    } else if (option === 'SETNAME' && left >= 1) {
      client.name = checkName(args[i + 1]!)
      i += 1
    } else throw new CommandError(`ERR Syntax error in HELLO option '${shown(args[i]!)}'`)
  }
  if (!client.authenticated) throw new CommandError(HELLO_FIRST)
  client.protocol = protocol
  return new RespMap([
    ['server', 'redis'],
    ['version', REDIS_VERSION],
    ['proto', protocol],
    ['id', client.id],
    ['mode', 'standalone'],
    ['role', 'master'],
    ['modules', []],
  ])
}

export const HELLO_COMMANDS: readonly SessionCommand[] = [
  // Earlier commands are answered in the protocol in which they were sent.
  outside('hello', -1, hello, { open: true, inTurn: true, run: holdingWrong(hello) }),
  immediate('auth', -2, auth, { open: true, run: holdingWrong(auth) }),
]
