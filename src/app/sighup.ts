/**
 * SIGHUP reloads files. Its default action would end the process, so main.ts imports this module first: a signal may
 * arrive while the rest is loading.
 */
let act: () => void = () => undefined

process.on('SIGHUP', () => act())

/** Sets the handler. Before that SIGHUP does nothing: files read at startup are current anyway. */
export function onSighup(run: () => void): void {
  act = run
}
