/** Both sides of the comparison with the same limits: one database, values of one MiB; and time enough on a busy machine. */
export const ORACLE_ARGS = ['--proto-max-bulk-len', '1mb']
export const DOOR_ENV = { REQUEST_TIMEOUT_MS: '8000', NODE_TIMEOUT_MS: '4000', LOG_LEVEL: 'fatal' }
