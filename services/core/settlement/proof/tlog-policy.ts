import type { HashBytes } from "./merkle.ts";
import { isKeyName, parseKey, shown, type NoteKey } from "./note.ts";

/** C2SP tlog-policy: whose logs are believed, and which witnesses must have seen them. */
export interface TlogPolicy {
  readonly logs: readonly NoteKey[];
  readonly witnesses: readonly NoteKey[];
  /** Witnesses and groups by name; in the order of the file, so that a group's members stand before it. */
  readonly groupByName: ReadonlyMap<string, Group>;
  /** Name of a witness or a group; undefined: no witness is asked for. */
  readonly quorum: string | undefined;
}

/** A witness is a group of itself. */
export type Group =
  | { readonly kind: "witness"; readonly key: NoteKey }
  | { readonly kind: "group"; readonly threshold: number; readonly members: readonly string[] };

export const policyLinesMax = 10_000;

interface Draft {
  readonly logs: NoteKey[];
  readonly witnesses: NoteKey[];
  readonly groupByName: Map<string, Group>;
  readonly quorums: string[];
}

/**
 * A policy, or what is wrong with the text. Besides the format's lines, a line may be a key alone: a log's, or a
 * witness's that is asked for.
 */
export function parsePolicy(text: string, sha256: HashBytes): TlogPolicy | string {
  const lines = text.split("\n");
  if (lines.length > policyLinesMax) return `expected at most ${policyLinesMax} lines`;
  const draft: Draft = { logs: [], witnesses: [], groupByName: new Map(), quorums: [] };
  for (const [place, line] of lines.entries()) {
    const words = line
      .replace(/#.*$/, "")
      .split(/\s+/)
      .filter((word) => word !== "");
    const mistake = words.length === 0 ? undefined : readLine(draft, words, sha256);
    if (mistake !== undefined) return `line ${place + 1}: ${mistake}`;
  }
  const { logs, witnesses, groupByName, quorums } = draft;
  if (logs.length === 0) return "expected the key of a log, found none";
  if (quorums.length > 1) return "expected one quorum, found more";
  const [quorum = defaultQuorum(groupByName, witnesses)] = quorums;
  if (quorum === "none") return { logs, witnesses, groupByName, quorum: undefined };
  if (!groupByName.has(quorum)) return `quorum: nobody is called ${shown(quorum)}`;
  return { logs, witnesses, groupByName, quorum };
}

/** Whether those who signed are as many as the policy asks for. */
export function hasQuorum(policy: TlogPolicy, signers: ReadonlySet<NoteKey>): boolean {
  const isMet = (name: string): boolean => {
    const group = policy.groupByName.get(name);
    if (group === undefined) return false;
    if (group.kind === "witness") return signers.has(group.key);
    return group.members.filter(isMet).length >= group.threshold;
  };
  return policy.quorum === undefined || isMet(policy.quorum);
}

/** What is wrong with a line. */
function readLine(draft: Draft, words: readonly string[], sha256: HashBytes): string | undefined {
  const [verb = "", ...rest] = words;
  switch (verb) {
    case "log":
      return readKey(rest[0] ?? "", sha256, (key) => addLog(draft, key));
    case "witness":
      return readKey(rest[1] ?? "", sha256, (key) => addWitness(draft, rest[0] ?? "", key));
    case "group":
      return readGroup(draft, rest);
    case "quorum":
      draft.quorums.push(rest[0] ?? "");
      return undefined;
    default:
      return readKey(verb, sha256, (key) =>
        key.type === "signature" ? addLog(draft, key) : addWitness(draft, shortName(key), key),
      );
  }
}

function readKey(
  text: string,
  sha256: HashBytes,
  onKey: (key: NoteKey) => string | undefined,
): string | undefined {
  const key = parseKey(text, sha256);
  return typeof key === "string" ? key : onKey(key);
}

function addLog(draft: Draft, key: NoteKey): string | undefined {
  if (key.type !== "signature") return `expected the key of a log, found that of a witness`;
  draft.logs.push(key);
  return undefined;
}

/** One key is one witness, whatever it is called: a cosignature does not say the name. */
function addWitness(draft: Draft, name: string, key: NoteKey): string | undefined {
  if (key.type !== "cosignature") return `expected the key of a witness, found that of a log`;
  if (!isKeyName(name) || draft.groupByName.has(name)) return "expected a new name of a witness";
  if (draft.witnesses.some(({ publicKey }) => publicKey === key.publicKey)) {
    return `witness ${name}: expected a key of its own, found one of another`;
  }
  draft.witnesses.push(key);
  draft.groupByName.set(name, { kind: "witness", key });
  return undefined;
}

/** A name in the policy has no plus; the key's own name and id do not collide. */
function shortName({ name, id }: NoteKey): string {
  return `${name}/${id}`;
}

function readGroup(draft: Draft, words: readonly string[]): string | undefined {
  const [name = "", wanted = "", ...members] = words;
  if (!isKeyName(name) || draft.groupByName.has(name)) return `expected a new name of a group`;
  const stranger = members.find((member) => !draft.groupByName.has(member));
  if (stranger !== undefined) return `group ${name}: nobody above is called ${shown(stranger)}`;
  const threshold = wanted === "any" ? 1 : wanted === "all" ? members.length : Number(wanted);
  if (!Number.isInteger(threshold) || threshold < 1 || threshold > members.length) {
    return `group ${name}: expected any, all or 1 to ${members.length}, found ${shown(wanted)}`;
  }
  draft.groupByName.set(name, { kind: "group", threshold, members });
  return undefined;
}

/** Where nothing is said, all witnesses are asked for. */
function defaultQuorum(groups: Map<string, Group>, witnesses: readonly NoteKey[]): string {
  if (witnesses.length === 0) return "none";
  const members = [...groups].filter(([, { kind }]) => kind === "witness").map(([name]) => name);
  groups.set("", { kind: "group", threshold: members.length, members });
  return "";
}
