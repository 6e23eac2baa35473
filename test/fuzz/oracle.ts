/** Both sides of the comparison with the same limits: values of one MiB; and time enough on a busy machine. */
export const ORACLE_ARGS = ['--proto-max-bulk-len', '1mb']
export const DOOR_ENV = {
  MAX_VALUE_BYTES: '1MiB',
  // Streams run side by side, and one must not delete the keys of another.
  ALLOW_DANGEROUS_COMMANDS: 'false',
  REQUEST_TIMEOUT_MS: '8000',
  NODE_TIMEOUT_MS: '4000',
  LOG_LEVEL: 'fatal',
}
