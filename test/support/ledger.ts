/** The invariant of the memory account: its sums. */
import type { Account, Ledger } from '../../src/servers/ledger.ts'

interface Users {
  readonly users: ReadonlyMap<
    string,
    { readonly name: string; readonly bytes: number; readonly accounts: Set<Account> }
  >
}

/** Null, or what is violated. */
export function imbalanceOf(ledger: Ledger): string | null {
  const { users } = ledger as unknown as Users
  let ofUsers = 0
  let ofAccounts = 0
  for (const user of users.values()) {
    ofUsers += user.bytes
    let own = 0
    for (const account of user.accounts) {
      if (account.bytes < account.base)
        return `an account of ${user.name} holds ${account.bytes}, less than its base`
      own += account.bytes
    }
    if (own !== user.bytes) return `the user ${user.name} has ${user.bytes}, its accounts ${own}`
    ofAccounts += own
  }
  return ofUsers === ledger.used && ofAccounts === ledger.used
    ? null
    : `${ledger.used} used, ${ofUsers} of users, ${ofAccounts} of accounts`
}
