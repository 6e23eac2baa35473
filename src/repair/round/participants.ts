/** The members that take part in a round: those that are clean at its start, and stay the same until its end. */
import { encodeMarker, whyOtherMarker, type Marker } from '../../cluster/marker.ts'
import type { Member } from '../../cluster/member.ts'
import { RepairStopped } from './copy.ts'
import { sentenceOf } from '../../core/sentence.ts'

export const FAILED = Symbol('failed')

/** A member that takes part, as of the start. */
export class Participant {
  readonly member: Member
  readonly marker: Marker
  readonly markerBytes: Buffer
  left = false

  constructor(member: Member) {
    this.member = member
    this.marker = member.marker!
    this.markerBytes = encodeMarker(this.marker)
  }

  get takesPart(): boolean {
    if (this.left || whyUnfit(this.member) !== null) return false
    const { token, runId } = this.member.marker!
    return token === this.marker.token && runId === this.marker.runId
  }

  get evicts(): boolean {
    return this.member.evicts
  }
}

export class Participants {
  readonly all: readonly Participant[]
  /** Members that do not take part, or not to the end, each with the reason. */
  readonly leftOut: string[] = []
  private readonly byMember: ReadonlyMap<Member, Participant>

  constructor(members: readonly Member[]) {
    const fit = members.filter((member) => whyUnfit(member) === null)
    this.all = fit.map((member) => new Participant(member))
    this.byMember = new Map(this.all.map((participant) => [participant.member, participant]))
    for (const member of members) {
      const why = whyUnfit(member)
      if (why !== null) this.leftOut.push(`${member.id}: ${why}`)
    }
  }

  /** Null if the member does not take part. */
  of(member: Member): Participant | null {
    const participant = this.byMember.get(member)
    return participant?.takesPart ? participant : null
  }

  /** Those of the members that take part. */
  among(members: readonly Member[]): Participant[] {
    return members.flatMap((member) => this.of(member) ?? [])
  }

  leaveOut(participant: Participant, why: string): void {
    if (participant.left) return
    participant.left = true
    this.leftOut.push(`${participant.member.id}: ${why}`)
  }

  /** Excludes a failed member from the rest of the round. */
  async attempt<T>(participant: Participant, work: () => Promise<T>): Promise<T | typeof FAILED> {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof RepairStopped)) throw error
      this.leaveOut(participant, error.message)
      return FAILED
    }
  }

  /** Leaves out members that lost data or restarted meanwhile: their marker has changed. */
  async confirm(): Promise<void> {
    await Promise.all(this.all.map((participant) => this.confirmOne(participant)))
  }

  private async confirmOne(participant: Participant): Promise<void> {
    if (!participant.takesPart) {
      this.leaveOut(participant, 'its marker has changed, or it is unreachable')
      return
    }
    try {
      const { marker, runId } = await participant.member.node.probe()
      if (marker?.equals(participant.markerBytes) && runId === participant.marker.runId) return
      this.leaveOut(participant, whyOtherMarker(participant.marker, marker, runId))
    } catch (error) {
      this.leaveOut(participant, sentenceOf(error))
    }
  }
}

function whyUnfit(member: Member): string | null {
  if (!member.node.ready || member.health.state === 'down') return 'it is unreachable'
  if (!member.marker || member.completeness !== 'clean') return `it is ${member.completeness}`
  return null
}
