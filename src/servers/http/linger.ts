/**
 * Closing a connection without losing the responses on their way.
 *
 * If a socket is closed while it has unread bytes, or if more come later, the kernel resets the connection and drops what
 * the client has not received yet: the response and those before it. So the server only shuts its own side, then reads and
 * discards whatever still comes (the rest of a body, pipelined requests) until the client has shut its side, or for
 * LINGER_MS (RFC 9112, 9.6). A client that goes on sending for longer than that may lose the response.
 */
import type { Duplex } from 'node:stream'
import type { Socket } from 'node:net'

const LINGER_MS = 2000

/** @param socket its last response is written, or it is no longer writable */
export function closeGently(socket: Duplex): void {
  if (socket.destroyed) return
  socket.end()
  // node:http's parser finishes its chunk first, and may stop reading at the end of it.
  setImmediate(() => discardInput(socket))
  // The socket closes by itself when both sides are shut. Afterwards, what is unsent still goes out.
  const timer = setTimeout(() => (socket as Socket).destroySoon(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
}

/** Reads and discards all further input, past node:http's parser. */
export function discardInput(socket: Duplex): void {
  if (socket.destroyed) return
  socket.removeAllListeners('data')
  socket.on('data', () => undefined) // detaches the parser
  // While the parser was attached, node:http may have stopped reading on a level below the stream, whose resume() cannot
  // undo that: the stream believes that it is reading. After an empty chunk it asks for more.
  socket.push('')
  socket.resume()
}
