/**
 * SIGHUP means "read your files again", and never ends the process: the default action would. main.ts loads this
 * before everything else, since a signal may come while the rest is being loaded.
 */
let act: () => void = () => undefined

process.on('SIGHUP', () => act())

/** What SIGHUP does from now on. Until then it does nothing: what is read at the start is new anyway. */
export function onHangUp(run: () => void): void {
  act = run
}
