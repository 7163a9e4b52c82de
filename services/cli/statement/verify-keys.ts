import { readFileSync } from "node:fs";
import type { NoteKey, PublicKey } from "../../core/settlement/proof/note.ts";
import { parsePolicy, type TlogPolicy } from "../../core/settlement/proof/tlog-policy.ts";
import type { PartyPublicKey, Trust } from "../../core/settlement/statements/statement-check.ts";
import type { PairId } from "../../core/units.ts";
import { sha256 } from "../../io/signing.ts";
import { Failure } from "../outcome.ts";

/** Whom the reader believes, by the lines of a file: a policy of logs, and parties with their keys. */
export function readKeys(path: string): Trust {
  const lines = readFileSync(path, "utf8").split("\n");
  const keyByKid = new Map<string, PartyPublicKey>();
  const rest: string[] = [];
  for (const [place, line] of lines.entries()) {
    const words = line.replace(/#.*$/, "").trim();
    if (!/^party\s/.test(words)) {
      rest.push(line);
      continue;
    }
    const [, party, kid = "", publicKey = ""] =
      /^party\s+(operator|(?:vendor|tenant|model|channel):\S+)\s+(\S+)\s+([0-9a-f]{64})$/.exec(
        words,
      ) ?? [];
    if (party === undefined || keyByKid.has(kid)) {
      const wanted =
        "party, operator or a pair such as vendor:qilian, a kid that no other line has";
      throw new Failure(
        `${path}:${place + 1}: expected ${wanted}, and 64 digits of hex, found ${line}`,
      );
    }
    keyByKid.set(kid, { party: party as PairId | "operator", publicKey });
  }
  const isPolicy = rest.some((line) => line.replace(/#.*$/, "").trim() !== "");
  const policy = isPolicy ? parsePolicy(rest.join("\n"), sha256) : undefined;
  if (typeof policy === "string") throw new Failure(`${path}: ${policy}`);
  return {
    policy,
    keyOf: (kid, { log: { origin } }) => {
      const publicKey = logKeyOf(kid, origin, policy);
      const ofLog = publicKey === undefined ? undefined : { party: "operator" as const, publicKey };
      return keyByKid.get(kid) ?? ofLog;
    },
  };
}

/** An operator signs statements with the key of its logs: `<domain>/operator/<the key begins with>`. */
function logKeyOf(
  kid: string,
  origin: string,
  policy: TlogPolicy | undefined,
): PublicKey | undefined {
  const [, domain, begin = ""] = /^(.+)\/operator\/([0-9a-f]{16})$/.exec(kid) ?? [];
  // Another operator's logs, which may be believed too, say nothing of this one's statements.
  if (domain === undefined || !origin.startsWith(`${domain}/`)) return undefined;
  const isMeant = ({ name, publicKey }: NoteKey): boolean =>
    name.startsWith(`${domain}/`) && publicKey.startsWith(begin);
  return policy?.logs.find(isMeant)?.publicKey;
}
