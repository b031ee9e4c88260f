/**
 * local-hosts - the hosts of an engine that live in one thread: its owner, and whoever attached there, more than once
 * perhaps.
 *
 * A thread that sleeps until a block has come must take part in the change for all of them, and where the owner is
 * among them nobody else could answer.
 */

/** What a thread does for each of its hosts. */
interface LocalMember {
  takeChanges(): void;
}

interface LocalOwner {
  growMemory(node: number): boolean;
}

const members = new Map<string, Set<LocalMember>>();
const owners = new Map<string, LocalOwner>();

export function addLocalMember(channel: string, member: LocalMember): void {
  const known = members.get(channel) ?? new Set();
  members.set(channel, known.add(member));
}

export function removeLocalMember(channel: string, member: LocalMember): void {
  const known = members.get(channel);
  known?.delete(member);
  if (known?.size === 0) members.delete(channel);
}

export function setLocalOwner(channel: string, owner: LocalOwner | null): void {
  if (owner === null) owners.delete(channel);
  else owners.set(channel, owner);
}

/** The engine's owner, if it lives in this thread. */
export function localOwner(channel: string): LocalOwner | undefined {
  return owners.get(channel);
}

/** Takes part in the changes of the engine's blocks for everybody of this thread. */
export function takeLocalChanges(channel: string): void {
  for (const member of members.get(channel) ?? []) member.takeChanges();
}
