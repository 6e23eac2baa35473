/**
 * Planted bugs: each leaves out one rule of the design, in one place. The simulation has to find every one of them
 * (sabotage.ts); one that it does not find is a promise that nobody checks.
 *
 * `find` must stand exactly once in the file.
 *
 * Rules that live where the simulation does not reach, or that are not there yet, get their place here when they are:
 * - the marker at the end of a batch, as link.ts reads it (here: memory.ts, which does the same; test/nodes holds link.ts)
 * - deletes coming back after the grace, a grace too short for expiry, a paused repair worker: anti-entropy, synced_at and
 *   deadlines of repair writes (runs last seconds, a grace lasts a day)
 * - promises and acceptances of a node that is being filled: it is not asked, and would not count (two-rounds.ts)
 * - hints: no promise rests on them, and anti-entropy heals what they would have
 * - fallback replicas that count: they get their copies only after a majority of home replicas has confirmed
 * - raising the markers when an epoch is followed: whoever probes a node raises its marker as well
 * - answers of nodes that have not heard of the change, as sources too: whoever probes a node marks it, and one that cannot
 *   be probed is down before the wait of a fill is over; and what is read is held by both sets until the new one was brought
 *   everything once more
 * - the barrier between epochs (topology.ts): each step begins with a probe of all members, which marks them
 * - a coordinator advances only a change whose members it uses: one that joins begins as filling, so that it is no vote until
 *   it has been brought everything, and the register needs a majority of the next members
 * - a fill that was planned under other members (fill.ts): a node that has left is no member of any epoch that can still
 *   acknowledge something, and is emptied before it joins again
 * - what a node had received before it lost its data (marker.ts): it is filling then, and is no vote
 * - for a write that began again, a record that has replaced it is no ack: once in 80,000 runs of the model
 * - where a result goes on under the next epoch, and nowhere else (update/two-rounds.ts): not once in 100,000 runs of a model
 *   (docs/decisions/0074; test/coordinator/joint.test.ts has it)
 * - answers from before a flush (topology.ts): whoever follows it marks the nodes first
 * - that whoever got something is followed by the next one that waits, and that what is stored while others are tried begins
 *   another round: without, a client is served by the next look, and only where one store brings several elements, or comes in
 *   the middle of a round (test/coordinator/waiters.test.ts)
 * - gaps in what nodes tell of changes, for clients that keep values: a key that is kept has to change in the gap
 *   (test/coordinator/tracking.test.ts)
 * - what makes a root impossible before its parts are removed (repair/round/leftovers.ts): the root of a change that was not
 *   confirmed is on one node, which must come back after a round without it (test/repair/leftovers.test.ts has it)
 * - a part that a majority lacks and another replica has (commands/run/parts.ts): it takes several losses within one command
 *   (test/commands/run/evicted-parts.test.ts has it)
 * - votes of nodes that are still receiving: a read needs a majority of the voters to hold its answer, whoever voted
 */
export interface Change {
  readonly file: string
  readonly find: string
  readonly replace: string
}

export interface Sabotage extends Change {
  readonly name: string
  /** What is left out. */
  readonly rule: string
  /** Where the same rule is kept a second time: one place makes up for the other. */
  readonly also?: Change
  /** Found only by what must be equal in the end. */
  readonly converge?: boolean
  /** Found only where members change. */
  readonly changes?: boolean
  /** Found only where members die and are removed. */
  readonly removals?: boolean
  /** Found only where Sentinels choose the primaries of members. */
  readonly failovers?: boolean
  /** Found only where keys are deleted by jobs. */
  readonly jobs?: boolean
  /** Found only where all keys are deleted. */
  readonly flushes?: boolean
  /** Found only where values have tags. */
  readonly tags?: boolean
  /** Found where all runs have queues, streams, leaderboards, counters or MULTI. */
  readonly types?: boolean
  /** Found only where collections are stored in parts. */
  readonly parts?: boolean
  /** Found only where coordinators have a near cache. */
  readonly near?: boolean
}

export const SABOTAGES: readonly Sabotage[] = [
  // ---- what counts
  {
    name: 'marker-ignored',
    rule: 'every batch ends with the marker; if it is another one, nothing counts',
    file: 'src/cluster/cluster.ts',
    find: 'if (found && member.marker && hasLostNothing(member.marker, found)) {\n      return this.admission.fenceOf(member, found, bytes)',
    replace:
      'if (member.marker) {\n      return this.admission.fenceOf(member, member.marker, bytes ?? Buffer.alloc(1))',
  },
  {
    name: 'unclean-acks',
    rule: 'the ack of a node that is being filled does not count',
    file: 'src/coordinator/write/acks.ts',
    find: 'this.note({ node, counts: this.counts(node, answering), keptMs, askedMs: keptMs })',
    replace: 'this.note({ node, counts: true, keptMs, askedMs: keptMs })',
  },
  {
    name: 'unclean-votes',
    rule: 'the vote of a node that is being filled does not count',
    file: 'src/coordinator/read/quorum-read.ts',
    find: 'if (isVoter && this.replicas.trusts(fence)) this.votes.set(node, record)',
    replace: 'if (isVoter) this.votes.set(node, record)',
  },
  {
    name: 'one-ack',
    rule: 'a write at quorum needs a majority of acks',
    file: 'src/coordinator/write/quorum-write.ts',
    find: 'if (this.acks.areEnough) {',
    replace: 'if (this.acks.counted.length > 0) {',
  },
  // ---- reads at quorum
  {
    name: 'filling-taken-for-clean',
    rule: 'a node counts only while its marker says clean',
    file: 'src/cluster/admission.ts',
    find: "const clean = marker.state === 'clean' && !this.options.freshness.isStale(member)",
    replace: 'const clean = !this.options.freshness.isStale(member)',
  },
  {
    name: 'one-vote',
    rule: 'a read at quorum needs a majority of votes, and answers what a majority holds',
    file: 'src/coordinator/read/quorum-read.ts',
    find: 'this.required = this.replicas.required(this.level)',
    replace:
      'this.required = 1\n    this.replicas = (this.replicas.constructor as any).stable(this.replicas, this.replicas.homes.slice(0, 1), 1)',
  },
  {
    name: 'no-write-back',
    rule: 'where votes differ, the newest is at a majority before it is answered',
    file: 'src/coordinator/read/quorum-read.ts',
    find: 'if (this.isHeld) {\n      this.over = true',
    replace: 'if (this.holding.length > 0) {\n      this.over = true',
  },
  {
    name: 'write-back-stale-counts',
    rule: 'a write-back that meets something newer proves nothing',
    file: 'src/coordinator/read/quorum-read.ts',
    find: '    this.over = true\n    this.read.again()\n  }\n\n  private count',
    replace:
      '    this.pending--\n    this.holding.push(this.placeOf(node))\n    this.count()\n  }\n\n  private count',
  },
  // ---- stale
  {
    name: 'stale-is-an-ack',
    rule: 'stale is never an ack',
    file: 'src/coordinator/write/quorum-write.ts',
    find: '    if (isPromise || replaced < 0) this.never++\n    else if (replaced === 0 && !this.isRenewed && this.replicas.holdsBy(fence, place)) {',
    replace: '    if (fence.clean) {',
  },
  {
    name: 'stale-retried-at-once',
    rule: 'a write is made again only when nobody can have seen it',
    file: 'src/coordinator/write/quorum-write.ts',
    find: 'if (this.never === this.homes.length && !this.isRenewed) {',
    replace: 'if (this.never > 0) {',
  },
  {
    name: 'stale-majority-retried',
    rule: 'a write is made again only when nobody can have seen it, not even a read-modify-write on the one that held it',
    file: 'src/coordinator/write/quorum-write.ts',
    find: 'if (this.never === this.homes.length && !this.isRenewed) {',
    replace: 'if (this.never > this.homes.length / 2) {',
  },
  {
    name: 'older-replaces-newer',
    rule: 'a node keeps the newest',
    file: 'src/core/store.ts',
    find: 'if (order >= 0) return staleOf(here)',
    replace: 'if (order === 0) return staleOf(here)',
  },
  {
    name: 'versions-not-observed',
    rule: 'the next version is later than every one seen',
    file: 'src/core/clock.ts',
    find: 'if (ms < this.ms) return',
    replace: 'if (ms >= 0) return',
  },
  // ---- two rounds
  {
    name: 'promise-not-kept-by-store',
    rule: 'a promise refuses older writes',
    file: 'src/core/store.ts',
    find: 'if (here.promise && compareVersions(here.promise, version) > 0) {',
    replace: 'if (here.promise && compareVersions(here.promise, version) > 1) {',
  },
  {
    name: 'accept-without-promise',
    rule: 'accepted only where the promise still stands',
    file: 'src/core/store.ts',
    find: 'if (compareVersions(here.promise, ballot) !== 0) {',
    replace: 'if (compareVersions(here.promise, ballot) > 1) {',
  },
  {
    name: 'prepare-refuses-nobody',
    rule: 'a promise refuses older ballots',
    file: 'src/core/store.ts',
    find: 'if (here.promise && compareVersions(here.promise, ballot) > 0) return refused(here.promise)',
    replace: '',
  },
  {
    name: 'nx-at-the-first-replica',
    rule: 'read-modify-write at quorum takes two rounds over a majority',
    file: 'src/coordinator/update/queued-update.ts',
    find: "if (level === 'one') return new UpdateOne(",
    replace: "if (level !== 'all') return new UpdateOne(",
  },
  {
    name: 'unknown-update-retried',
    rule: 'an unknown outcome is never tried again',
    file: 'src/coordinator/update/update.ts',
    find: 'if (this.touched > 0) {',
    replace: 'if (this.touched > 99) {',
  },
  {
    name: 'refusal-without-majority',
    rule: 'what a refused NX has seen is at a majority before it is told',
    file: 'src/coordinator/update/two-rounds.ts',
    find: 'return isHeld(sureHolders(votes, newest, isHeld, this.context.graceMs))',
    replace: 'return true',
  },
  // ---- several keys together
  {
    name: 'transaction-key-by-key',
    rule: 'a node takes all keys of a transaction or none',
    file: 'src/core/store-all.ts',
    find: 'return held.some((other) => other !== null)',
    replace: 'return held.every((other) => other !== null)',
  },
  {
    name: 'transaction-accepted-in-parts',
    rule: 'the keys of a transaction are accepted together',
    file: 'src/coordinator/transact/transact-quorum.ts',
    find: "node.storeAll(this.writes!, 'if-promised', this, this.replicas)",
    replace: `const ignored = () => undefined
    for (const write of this.writes!) {
      node.storeAll([write], 'if-promised', { onApplied: ignored, onStale: ignored, onFailure: ignored })
    }
    node.storeAll(this.writes!, 'if-promised', this, this.replicas)`,
  },
  {
    name: 'transaction-without-majority',
    rule: 'a transaction is confirmed by a majority that has taken all of it',
    file: 'src/coordinator/transact/transact-quorum.ts',
    find: 'if (areConfirmed && this.acks.every((acks) => acks?.areEnough ?? true)) {',
    replace: 'if (confirmed.length > 0) {',
  },
  {
    name: 'unknown-transaction-retried',
    rule: 'an unknown transaction is never tried again',
    file: 'src/coordinator/transact/transact-quorum.ts',
    find: 'if (this.touched > 0 && this.changesAnything) {',
    replace: 'if (this.touched > 99) {',
  },
  // ---- scripts
  {
    name: 'script-with-old-values',
    rule: 'a script that runs again sees what its keys hold then',
    file: 'src/commands/scripts/call.ts',
    find: 'const { keys, args, seed } = call',
    replace: `const { keys, args, seed } = call
          const first = ((call as { first?: Map<number, typeof held> }).first ??= new Map<number, typeof held>())
          if (!first.has(held.length)) first.set(held.length, held)
          held = first.get(held.length)!`,
  },
  {
    name: 'script-key-not-checked',
    rule: 'all keys of a script are as it has seen them when its result is stored',
    file: 'src/commands/run/more-keys.ts',
    find: 'const grown = script.withKeys(further)',
    replace: `const grown = script.withKeys(further)
    const options = { requester: this.caller, level: 'quorum' } as const
    const reading = readRecord(store, further[0]!, options).catch(() => null)
    const inner = (grown as unknown as { script: { run: (...args: never[]) => unknown } }).script
    const { run } = inner
    inner.run = async (held: never, ...rest) => {
      const known = await reading
      const stale = store.isLive(known) ? { value: known.value, expiresAtMs: 0 } : null
      return run([held[0], stale] as never, ...rest)
    }`,
  },
  // ---- deadlines
  {
    name: 'settling-has-its-own-deadline',
    rule: 'one deadline for each request, whatever it takes',
    file: 'src/coordinator/read/quorum-read.ts',
    find: 'this.settle({ read: (record, by) => this.answer(record, by), failed: (error) => this.end(error) })',
    replace: 'this.finish()\n      this.settle(this.done)',
  },
  {
    name: 'deadline-ignored',
    rule: 'no request outlives its deadline',
    file: 'src/core/deadlines.ts',
    find: 'const entry = this.first\n        this.remove(entry)\n        entry.operation.overdue()',
    replace:
      'const entry = this.first\n        this.remove(entry)\n        this.timers.setTimeout(() => entry.operation.overdue(), 100)',
  },
  {
    name: 'answered-after-the-deadline',
    rule: 'acks after the deadline never count',
    file: 'src/core/deadlines.ts',
    find: 'return this.clock.monotonicMs() >= entry.dueAtMs',
    replace: 'return entry.dueAtMs < 0',
  },
  // ---- at one
  {
    name: 'not-found-from-anybody',
    rule: '"not found" is an answer of a home replica that knows',
    file: 'src/coordinator/read/read.ts',
    find: 'if (this.otherEpoch || (!this.newest && !known)) {',
    replace: 'if (this.otherEpoch || (!this.newest && known === undefined)) {',
  },
  {
    name: 'filling-node-read-first',
    rule: 'a node that is being filled serves no read while another can',
    file: 'src/cluster/member.ts',
    find: "if (this.completeness !== 'clean' || this.behind) return READ_COMPARED",
    replace: 'if (this.behind) return READ_COMPARED',
    also: {
      file: 'src/coordinator/read/read.ts',
      find: 'if (this.comparing === 0 && !this.replicas.trusts(fence)) {',
      replace: 'if (this.comparing < 0 && !this.replicas.trusts(fence)) {',
    },
  },
  // ---- markers
  {
    name: 'restart-trusted',
    rule: 'a node that restarted may have lost its tail, and is filled',
    file: 'src/cluster/marker.ts',
    find: 'if (context.durable && replid === undefined) {',
    replace: 'if (context.durable || true) {',
  },
  {
    name: 'empty-node-trusted',
    rule: 'a node without a marker was wiped, and is filled',
    file: 'src/cluster/marker.ts',
    find: "{ kind: 'write', marker: fresh('filling'), why: 'it has no marker",
    replace: "{ kind: 'write', marker: fresh('clean'), why: 'it has no marker",
  },
  {
    name: 'other-node-taken',
    rule: 'a node with another id is refused',
    file: 'src/cluster/marker.ts',
    find: 'if (found.id !== id) return',
    replace: 'if (found.id === undefined) return',
  },
  {
    name: 'other-cluster-taken',
    rule: 'a node of another cluster is refused; not a byte is written',
    file: 'src/cluster/marker.ts',
    find: 'if (found.cluster !== cluster) return',
    replace: 'if (found.cluster === undefined) return',
  },
  {
    name: 'exchanged-outvoted',
    rule: 'a coordinator does not take a foreign cluster for its own because addresses were exchanged',
    file: 'src/cluster/identity.ts',
    find: 'markers.flatMap((marker) => (marker && ids.has(marker.id) ?',
    replace: 'markers.flatMap((marker, i) => (marker?.id === members[i]!.id && ids.size > 0 ?',
  },
  // ---- filling
  {
    name: 'filled-from-nobody',
    rule: 'clean only after every key was merged',
    file: 'src/repair/fill.ts',
    find: 'await mergeSteered({',
    replace: 'void ({',
  },
  {
    name: 'filled-from-one',
    rule: 'every key is merged from N − Q + 1 other clean home replicas',
    file: 'src/repair/round/merge.ts',
    find: 'await eachOf(sources, READ_AT_ONCE',
    replace: 'await eachOf(sources.slice(0, 1), READ_AT_ONCE',
  },
  {
    name: 'filled-without-waiting',
    rule: 'filling begins when all writes from before its token have ended',
    file: 'src/repair/fill.ts',
    find: 'if (clock.monotonicMs() - seenMs < requestTimeoutMs) return false',
    replace: '',
  },
  {
    name: 'filled-without-compare',
    rule: 'filling ends by compare-and-set of the token it began with',
    file: 'src/repair/fill.ts',
    find: 'await member.node.swapMarker(encodeMarker(marker), encodeMarker(clean))',
    replace:
      'await member.node.swapMarker((await member.node.probe()).marker, encodeMarker({ ...clean, runId: (await member.node.probe()).runId }))',
  },
  {
    name: 'copies-stopped-by-promises',
    rule: 'a promise is no record: a copy that it refuses has not arrived',
    file: 'src/repair/round/copy.ts',
    find: 'await context.settle(key, record).catch(',
    replace: 'await Promise.resolve(record).catch(',
    converge: true,
  },
  // ---- per-key queues
  {
    name: 'told-alike',
    rule: 'of updates that are carried out together each is told what it made itself',
    file: 'src/coordinator/update/queued-update.ts',
    find: 'results[turn.after]!, by)',
    replace: 'results.at(-1)!, by)',
  },
  {
    name: 'refused-too-early',
    rule: 'what changes nothing because of what another one made is told when that is confirmed',
    file: 'src/coordinator/update/queued-update.ts',
    find: 'turns.push({ member,',
    replace:
      "if (last && modified.kind !== 'write') member.updated(results[before]!, results[before]!)\n      turns.push({ member,",
  },
  {
    name: 'told-too-early',
    rule: 'of updates that are carried out together none is told before the last result is confirmed',
    file: 'src/coordinator/update/queued-update.ts',
    find: 'results[results.length - 1] = asStored(newRecordOf(last, stamp))',
    replace:
      'results[results.length - 1] = asStored(newRecordOf(last, stamp))\n        const { member: one, before: saw } = turns.at(-1)!\n        one.updated(results[saw]!, results[results.length - 1]!)',
  },
  {
    name: 'applied-after-its-end',
    rule: 'an update that was told that it was not applied is left out of later attempts',
    file: 'src/coordinator/update/queued-update.ts',
    find: 'if (member.isFinished) continue',
    replace: '',
  },
  {
    name: 'queue-not-left',
    rule: 'the first in a per-key queue leaves it at its end, whatever that is',
    file: 'src/coordinator/update/read-modify-write.ts',
    find: 'this.queues?.leave(this.names)',
    replace: 'if (!this.isPast) this.queues?.leave(this.names)',
  },
  // ---- changes of members
  {
    name: 'later-epoch-counts',
    rule: 'an answer of a node that has a later epoch than the operation counts for nothing',
    file: 'src/core/replica-set.ts',
    find: 'return epoch <= this.epoch && epoch >= this.since',
    replace: 'return epoch >= this.since',
    changes: true,
  },
  {
    name: 'held-by-the-old-majority',
    rule: 'while home replicas change, a majority of each set holds what is acknowledged',
    file: 'src/core/replica-set.ts',
    find: 'if (this.inOther === null) return true',
    replace: 'if (this.inOther !== undefined) return true',
    changes: true,
  },
  {
    name: 'incoming-votes-counted',
    rule: 'a node that does not hold everything yet is no vote',
    file: 'src/core/replica-set.ts',
    find: 'if (place >= 0 && place < this.voters) votes++',
    replace: 'if (place >= 0) votes++',
    changes: true,
  },
  {
    name: 'read-held-by-the-voters',
    rule: 'while home replicas change, a majority of each set holds what is read',
    file: 'src/coordinator/read/quorum-read.ts',
    find: "return this.replicas.isHeld(this.holding, 'quorum')",
    replace: "return this.replicas.hasVotes(this.holding, 'quorum')",
    changes: true,
  },
  {
    name: 'later-epoch-accepts',
    rule: 'a node that has a later epoch than a result was planned under refuses it',
    file: 'src/core/marked-epoch.ts',
    find: 'return marked >= since && marked <= epoch',
    replace: 'return marked >= since && epoch > 0',
    changes: true,
  },
  {
    name: 'former-decider-ignored',
    rule: 'at one, an update goes by what the first of the former home replicas has decided, too',
    file: 'src/coordinator/update/decided-by-one.ts',
    find: 'if (!former || former === replicas.homes[0]',
    replace: 'if (former || !former',
    changes: true,
  },
  {
    name: 'nothing-by-one-set',
    rule: 'while home replicas change, "nothing" at one counts only if each set says so',
    file: 'src/coordinator/read/read.ts',
    find: 'if (record === null && this.replicas.isJoint && !this.askedBothSets) {',
    replace: 'if (record === null && this.replicas.isJoint && this.askedBothSets) {',
    changes: true,
  },
  {
    name: 'filling-voter-holds',
    rule: 'of the nodes that are filled only those count that the change brings in',
    file: 'src/core/replica-set.ts',
    find: 'return clean || (this.isReceiving && place >= this.voters)',
    replace: 'return clean || this.isReceiving',
    changes: true,
  },
  {
    name: 'advanced-without-received',
    rule: 'the next layout votes once all of its nodes have received everything',
    file: 'src/repair/rebalance.ts',
    find: 'return gained.filter((id) => !received.includes(id))',
    replace: 'return gained.filter(() => received === undefined)',
    changes: true,
  },
  {
    name: 'no-second-pass',
    rule: 'before the new layout stands alone it is brought what only the former home replicas have',
    file: 'src/repair/rebalance.ts',
    find: 'if (!(await this.readFormer(topology))) return',
    replace: '',
    changes: true,
  },
  {
    name: 'kept-members-receive-nothing',
    rule: 'members that stay receive too, where the former majority is not one of the new set',
    file: 'src/core/replica-set.ts',
    find: 'isNext(place) && (!isFormer(place) || !isEnough)',
    replace: 'isNext(place) && (!isFormer(place) || isEnough === undefined)',
    changes: true,
  },
  {
    name: 'decided-by-one-list',
    rule: 'an epoch is decided by a majority of every list of the old and the new members',
    file: 'src/cluster/register.ts',
    find: 'accepting(base, topology).every((list) => isMajority(list, acceptances)) &&',
    replace: 'accepting(base, topology).some((list) => isMajority(list, acceptances)) &&',
    changes: true,
  },
  {
    name: 'decided-without-promises',
    rule: 'what another coordinator has begun is finished',
    file: 'src/cluster/register.ts',
    find: 'const isBegun = isRecovered || (isNext && !isOthers(base, accepted))',
    replace: 'const isBegun = isNext && base === null',
    changes: true,
  },
  {
    name: 'renewed-as-another-version',
    rule: 'a write that begins again under another epoch keeps its version',
    file: 'src/coordinator/write/quorum-write.ts',
    find: 'if (!this.context.cluster.isFlushed(this.key, versionOf(record))) this.send(record, lifeMs, true)',
    replace: 'if (record && lifeMs) this.attempt()',
    changes: true,
  },
  {
    name: 'epoch-ignored-at-one',
    rule: 'a read at one does not count the answer of another epoch',
    file: 'src/coordinator/read/read.ts',
    find: 'if (this.comparing === 0 && !this.replicas.trusts(fence)) {',
    replace: 'if (this.comparing === 0 && !fence.clean) {',
    changes: true,
  },
  // ---- members that are gone
  {
    name: 'loss-accepted-by-nobody',
    rule: 'members are given up with data only where somebody has accepted the loss',
    file: 'src/cluster/loss.ts',
    find: '  if (isAccepted) return ids\n',
    replace: '  if (isAccepted || ids.length > 0) return ids\n',
    removals: true,
  },
  {
    name: 'lost-and-waited-for',
    rule: 'where most copies of a key are given up, those that are left are its replica set',
    file: 'src/core/placement.ts',
    find: 'if (survivors.length >= required(',
    replace: 'if (survivors.length >= 0 * required(',
    removals: true,
  },
  {
    name: 'survivors-after-others',
    rule: 'the replica set of such a key begins with the home replicas that are left',
    file: 'src/core/placement.ts',
    find: 'return ReplicaSet.stable(this, left, survivors.length || ',
    replace: 'return ReplicaSet.stable(this, left.reverse(), survivors.length || ',
    removals: true,
  },
  {
    name: 'recovered-by-a-majority',
    rule: 'where a majority is given up, those that are left decide',
    file: 'src/core/topology.ts',
    find: 'return 2 * left.length > members.length ? members : left',
    replace: 'return 2 * left.length >= 0 ? members : left',
    removals: true,
  },
  {
    name: 'recovery-left-begun',
    rule: 'a recovery over which its coordinator died is finished by another one',
    file: 'src/cluster/register.ts',
    find: 'const isRecovered = isRecovery && accepted',
    replace: 'const isRecovered = base === null && accepted',
    removals: true,
  },
  // ---- failovers
  {
    name: 'promoted-taken-for-clean',
    rule: 'what Sentinels have promoted is filled: it may lack what the former primary had acknowledged',
    file: 'src/cluster/marker.ts',
    find: 'if ((found.topology?.life ?? 1) < (context.topology?.life ?? 1)) {',
    replace: 'if ((found.topology?.life ?? 1) < 0 * (context.topology?.life ?? 1)) {',
    also: {
      // Another run, and another replication id, as well.
      file: 'src/cluster/marker.ts',
      find: "if (context.durable && replid === undefined) {\n    return {\n      kind: 'write',\n      marker: { ...found, runId },",
      replace:
        "if (context.durable || replid !== undefined) {\n    return {\n      kind: 'write',\n      marker: { ...found, runId, ...(replid !== undefined && { replid }) },",
    },
    failovers: true,
  },
  {
    name: 'followed-by-each',
    rule: 'the register says which server is the primary of a member, and not the Sentinels to each coordinator',
    file: 'src/cluster/failovers.ts',
    find: 'if (used === null || identity.cluster === null) {',
    replace: 'if (used === null || identity.cluster !== null) {',
    also: {
      file: 'src/cluster/failovers.ts',
      find: '      if (registered === sentinel.address) return\n      sentinel.moveTo(registered)\n',
      replace: '      if (this.stopped) sentinel.moveTo(registered)\n      if (!this.stopped) return\n',
    },
    failovers: true,
  },
  {
    name: 'promoted-again-unnoticed',
    rule: 'a server that was demoted and promoted again has what another one held, although its marker and its run are the same',
    file: 'src/cluster/marker.ts',
    find: 'if (found.replid === undefined) {',
    replace: "if (found.replid !== '') {",
    failovers: true,
  },
  // ---- collections
  {
    name: 'first-attempt-answers',
    rule: 'the reply to an update is that of the attempt that was confirmed',
    file: 'src/commands/run/one-key.ts',
    find: 'reply = changed.reply\n',
    replace: 'reply ??= changed.reply\n',
  },
  {
    name: 'popped-and-kept',
    rule: 'what is popped is no longer there',
    file: 'src/commands/collections/lists.ts',
    find: 'rest: new NewEntries().keep(list, most, length) }',
    replace: 'rest: new NewEntries().keep(list, most - (length > 3 ? 1 : 0), length) }',
  },
  {
    name: 'fields-before-lost',
    rule: 'a field that is set leaves the others as they are',
    file: 'src/commands/collections/hashes.ts',
    find: 'next.keep(hash, from, at).add(entry)',
    replace: 'next.add(entry)',
  },
  {
    name: 'counters-start-again',
    rule: 'HINCRBY adds to what is there',
    file: 'src/commands/collections/hashes.ts',
    find: 'const after = BigInt(before) + by',
    replace: 'const after = (hash.length > 1 ? 0n : BigInt(before)) + by',
    types: true,
  },
  {
    name: 'multi-sees-nothing',
    rule: 'a command of MULTI sees what those before it have changed',
    file: 'src/commands/run/together.ts',
    find: '      held.set(name, after)\n',
    replace: '',
    types: true,
  },
  // ---- streams
  {
    name: 'ids-by-the-clock',
    rule: 'the id of an entry is above all before it, whatever the time',
    file: 'src/commands/streams/add.ts',
    find: 'return nowMs > msOf(lastId) ? streamId(nowMs, 0) : nextId(lastId)!',
    replace: 'return lastId.length > 0 ? streamId(nowMs, 0) : nextId(lastId)!',
    types: true,
  },
  {
    name: 'delivered-and-forgotten',
    rule: 'what was delivered is pending until it is acknowledged',
    file: 'src/commands/streams/deliver.ts',
    find: 'if (!noAck) this.pending.put(id, {',
    replace: 'if (!noAck && i % 2 === 0) this.pending.put(id, {',
    types: true,
  },
  {
    name: 'acknowledged-comes-back',
    rule: 'what was acknowledged is delivered to nobody again',
    file: 'src/commands/streams/acknowledge.ts',
    find: 'const groups = withGroup(stream.groups, group.with({ pending }))',
    replace: 'const groups = withGroup(stream.groups, pending.length > 1 ? group : group.with({ pending }))',
    types: true,
  },
  {
    name: 'delivered-again',
    rule: 'an entry is delivered to one consumer of a group',
    file: 'src/commands/streams/deliver.ts',
    find: 'lastId: run.id(length - 1)',
    replace: 'lastId: first > 2 ? group.lastId : run.id(length - 1)',
    types: true,
  },
  {
    name: 'young-by-another-clock',
    rule: 'with a min-idle-time of 0 everything that is pending is claimed',
    file: 'src/commands/streams/claim.ts',
    find: 'return leastIdleMs > 0 && ',
    replace: 'return ',
    types: true,
  },
  // ---- clients that wait
  {
    name: 'gone-with-the-element',
    rule: 'what was taken for a client that has gone is given back',
    file: 'src/coordinator/waiting/waiters.ts',
    find: 'if (waiter.waiting.isGone()) {\n      giveBack?.()',
    replace: 'if (waiter.waiting.isGone()) {',
    types: true,
  },
  {
    name: 'given-back-twice',
    rule: 'what may have been given back is not given back again',
    file: 'src/coordinator/waiting/waiters.ts',
    find: 'if (isCertain(error) && waitMs < GIVING_BACK_MS) {',
    replace: 'if (waitMs < GIVING_BACK_MS) {',
    types: true,
  },
  {
    name: 'popped-for-nobody',
    rule: 'an attempt that may have taken something ends the wait',
    file: 'src/coordinator/waiting/waiters.ts',
    find: 'if (isCertain(error)) waiter.couldNotLook()',
    replace: 'if (error) waiter.couldNotLook()',
    types: true,
  },
  {
    name: 'last-come-first-served',
    rule: 'those who wait at a key are tried in the order in which they came',
    file: 'src/coordinator/waiting/lines.ts',
    find: 'for (const [waiter, place] of this.waiters) {',
    replace: 'for (const [waiter, place] of [...this.waiters].reverse()) {',
    types: true,
  },
  {
    name: 'others-not-woken',
    rule: 'what is stored wakes clients that wait at other coordinators',
    file: 'src/coordinator/waiting/waiters.ts',
    find: '    this.link?.wake(key)\n',
    replace: '',
    types: true,
  },
  {
    name: 'not-announced',
    rule: 'the others are told that somebody waits',
    file: 'src/coordinator/waiting/waiters.ts',
    find: 'if (!waiter.isOver) this.announce(keys.map((key) => this.entryOf(key).hash))',
    replace: 'if (this.blocked < 0) this.announce(keys.map((key) => this.entryOf(key).hash))',
    types: true,
  },
  {
    name: 'never-looks',
    rule: 'whoever waits looks now and then, in case a message was lost',
    file: 'src/coordinator/waiting/waiters.ts',
    find: 'if (found?.kind === KIND_STREAM && entry.hasSeen(found.version)) return',
    replace: 'if (found || entry.hasSeen(new Uint8Array(0))) return',
    types: true,
  },
  // ---- clients that keep what they have read
  {
    name: 'changes-of-others-not-told',
    rule: 'whoever keeps a value is told of a change through another coordinator',
    file: 'src/coordinator/tracking/tracking.ts',
    find: "for (const key of keys) this.changed(key.toString('latin1'), null)",
    replace: 'this.followFloors()',
    types: true,
  },
  // ---- near cache
  {
    name: 'near-at-quorum',
    rule: 'reads at quorum ask the nodes, whatever is kept',
    file: 'src/coordinator/coordinator.ts',
    find: "    if (level === 'one') {\n      const first = replicas.homes[0]!\n      const isOpen",
    replace:
      "    if (level === 'quorum' && replicas.homes[0]!.node.near && this.readNear(replicas.homes[0]!.node.near, key, replicas, done)) return\n    if (level === 'one') {\n      const first = replicas.homes[0]!\n      const isOpen",
    near: true,
  },
  {
    name: 'near-without-a-bound',
    rule: 'nothing is answered that is not proven to be young enough',
    file: 'src/nodes/near/near-cache.ts',
    find: 'nowMs - this.provenMs <= this.cache.maxStalenessMs',
    replace: 'nowMs >= this.provenMs',
    near: true,
  },
  {
    name: 'near-kept-without-tracking',
    rule: 'what is kept is dropped when the connection ends on which the node tells of changes',
    file: 'src/nodes/near/near-cache.ts',
    find: '    this.cache.tracked--\n    this.drop(cause)\n',
    replace: '    this.cache.tracked--\n    if (cause === "data-path") this.drop(cause)\n',
    near: true,
  },
  {
    name: 'near-kept-after-its-change',
    rule: 'an answer is not kept if its key has changed since it was asked for',
    file: 'src/nodes/near/near-cache.ts',
    find: "if (this.asks.size > 0) this.asks.delete(key.toString('latin1'))",
    replace: "if (this.asks.size < 0) this.asks.delete(key.toString('latin1'))",
    near: true,
  },
  {
    name: 'near-beside-own-writes',
    rule: 'a write by this process removes what it keeps, before the node tells of it',
    file: 'src/nodes/near/near-cache.ts',
    find: '  changed(key: Buffer): void {\n    this.forget(key)',
    replace: '  changed(key: Buffer): void {\n    if (key.length === 0) this.forget(key)',
    near: true,
  },
  {
    name: 'near-proven-by-its-own-ping',
    rule: 'an answer to a PING proves that what was changed before the PING before it has arrived',
    file: 'src/nodes/redis/tracking.ts',
    find: 'this.events.proven(this.formerPingMs)',
    replace: 'this.events.proven(this.pingMs)',
    near: true,
  },
  // ---- collections in parts
  {
    name: 'root-before-its-parts',
    rule: 'a root is stored only when as many replicas as the level needs hold the parts that it names',
    file: 'src/commands/run/parts.ts',
    find: 'if (!(error instanceof RondoError)) throw error\n      // No root names them',
    replace: 'if (error instanceof RondoError) return\n      // No root names them',
    parts: true,
  },
  {
    name: 'stream-before-its-parts',
    rule: 'a change of a stream that is stored by itself stores no parts',
    file: 'src/commands/run/parts.ts',
    find: '[...changedParts.values()].some((part) => part !== null)',
    replace: '[...changedParts.values()].some((part) => part?.length === 0)',
    parts: true,
  },
  {
    name: 'parts-named-alike',
    rule: 'each attempt of a change stores its parts under names of its own',
    file: 'src/commands/run/parts.ts',
    find: 'const stamp = this.draw(STAMPS)',
    replace: 'const stamp = parts.root.readUIntBE(13, 6)',
    parts: true,
  },
  {
    name: 'lost-though-changed',
    rule: 'a collection is removed for a lost part only while its root names it',
    file: 'src/commands/run/parts.ts',
    find: 'record && root.equals(record.value) ? gone',
    replace: 'record ? gone',
    parts: true,
  },
  {
    name: 'named-parts-removed',
    rule: 'parts that the root names are not removed',
    file: 'src/repair/round/leftovers.ts',
    find: 'const named = namedKeysIn(root, isGone ? null : record)',
    replace: 'const named = namedKeysIn(root, null)',
    parts: true,
  },
  // ---- delete jobs
  {
    name: 'jobs-delete-what-is-there',
    rule: 'what was written after a job was made stays',
    file: 'src/servers/delete-jobs.ts',
    find: 'const version = parseVersion(before)!',
    replace: 'const version = before ? store.newVersion() : parseVersion(before)!',
    jobs: true,
  },
  {
    name: 'jobs-confirmed-at-once',
    rule: 'a job is confirmed when all coordinators make later versions than its own',
    file: 'src/servers/delete-jobs.ts',
    find: '    await this.isPast()\n',
    replace: '',
    jobs: true,
  },
  {
    name: 'jobs-skip-what-failed',
    rule: 'a page of which a key could not be deleted is tried again',
    file: 'src/servers/delete-jobs.ts',
    find: 'if (failure || this.stopped) return now',
    replace: 'if (this.stopped) return now',
    jobs: true,
  },
  // ---- flushes
  {
    name: 'versions-below-the-floor',
    rule: 'whoever works by the epoch of a flush makes its versions above the floor',
    file: 'src/cluster/membership.ts',
    find: 'for (const { version } of floors?.all ?? []) versions.observe(Buffer.from(version))',
    replace: '',
    flushes: true,
  },
  {
    name: 'floor-ignored-by-repairs',
    rule: 'nothing below a floor travels: fills and rounds do not see it',
    file: 'src/nodes/memory/memory-node.ts',
    find: 'return (found: Fence) => call.onRecord(this, aboveFloor(found.floors, asked, bytes), found)',
    replace: 'return (found: Fence) => call.onRecord(this, bytes, found)',
    flushes: true,
  },
  {
    name: 'flushed-and-settled',
    rule: 'a repair that has read a record before a flush does not bring it back',
    file: 'src/coordinator/coordinator.ts',
    find: "return this.cluster.isFlushed(key, record.version) ? { kind: 'keep' } : { kind: 'write', record }",
    replace: "return { kind: 'write', record }",
    flushes: true,
  },
  {
    name: 'floor-is-of-now',
    rule: 'a floor is later than whatever any clock has made',
    file: 'src/cluster/flushing.ts',
    find: 'Math.max(Math.ceil(this.latestMs + CLOCK_SKEW_MS), versionMs(own) + 1)',
    replace: 'Math.floor(this.options.time.nowMs() + 0 * (CLOCK_SKEW_MS + versionMs(own))) - 20',
    flushes: true,
  },
  {
    name: 'floor-by-new-clocks',
    rule: 'a floor is later than what was made before clocks were set back, and not noticed by all',
    file: 'src/cluster/flushing.ts',
    find: 'return time.latestMs + Math.max(',
    replace: 'return time.nowMs() + Math.max(',
    flushes: true,
  },
  {
    name: 'floor-that-has-passed',
    rule: 'a floor is still later than whatever any clock has made when all have heard of it',
    file: 'src/cluster/flushing.ts',
    find: 'if (this.isAhead(floor)) return true',
    replace: 'return true',
    flushes: true,
  },
  // ---- tags
  {
    name: 'tags-ignored',
    rule: 'a read of a tagged value asks for its tags',
    file: 'src/coordinator/read/quorum-read.ts',
    find: 'if (record?.isTagged) this.judge(record, by)',
    replace: 'if (record === null && by === null) this.judge(record!, by)',
    tags: true,
  },
  {
    name: 'tags-at-one',
    rule: 'a read at quorum asks for the tags at quorum, too',
    file: 'src/coordinator/tags/tags.ts',
    find: 'this.options.read(key, done, level)',
    replace: "this.options.read(key, done, 'one')",
    tags: true,
  },
  {
    name: 'any-generation',
    rule: 'a tag that was made again has another generation',
    file: 'src/coordinator/tags/tags.ts',
    find: 'const isGone = !error && !this.generationIn(held)?.equals(generation)',
    replace: 'const isGone = !error && !this.generationIn(held) && generation.length > 0',
    tags: true,
  },
  {
    name: 'updates-ignore-tags',
    rule: 'an update takes a value whose tags are gone for nothing',
    file: 'src/coordinator/update/update.ts',
    find: 'if (!before?.isTagged || !this.update.judges) {',
    replace: 'if (!before?.isTagged || this.update.judges) {',
    tags: true,
  },
  {
    name: 'dropped-by-name',
    rule: 'what gives back the memory of a value deletes that version only',
    file: 'src/coordinator/tags/tags.ts',
    find: 'current?.kind === KIND_TOMBSTONE && compareVersions(current.version, gone) === 0 ? GONE : KEEP',
    replace: 'current && compareVersions(current.version, gone) >= 0 ? GONE : KEEP',
    tags: true,
  },
  // ---- time
  {
    name: 'own-clock',
    rule: 'cluster time is the median of the nodes, not our own clock',
    file: 'src/cluster/time.ts',
    find: 'return this.clock.monotonicMs() + this.offsetMs',
    replace: 'return this.clock.wallMs()',
  },
]
