import { z } from "zod";
import type { Policy } from "../core/placement/policy.ts";
import type { Log } from "../io/log.ts";
import {
  defaultPolicyYaml,
  parsePolicy,
  type ParsedPolicy,
  type PolicyMistake,
} from "../io/policy-file.ts";
import type { PolicyWorld } from "../io/policy-warnings.ts";
import type { Entry, Registry } from "../io/registry.ts";
import type { Replica } from "./replica.ts";

/** The key of the one policy. */
export const policyKey = "default";

/** Revisions that are looked through for one that can be used. */
export const revisionsMax = 1_000;

/** The policy as the registry keeps it. */
const policyRecordSchema = z.object({ yaml: z.string() });

/** The text as it was set. A record that cannot be read is given as it is, so that an operator can see it. */
export function textIn({ value }: Entry): string {
  const record = recordIn(value);
  return "yaml" in record ? record.yaml : value;
}

/** The policy of a record, or why it cannot be used: by its text, or because the record itself is broken. */
export function policyIn({ value, revision }: Entry): ParsedPolicy {
  const record = recordIn(value);
  return "yaml" in record ? parsePolicy(record.yaml, revision) : { mistakes: [record] };
}

function recordIn(value: string): { readonly yaml: string } | PolicyMistake {
  let data: unknown;
  try {
    data = JSON.parse(value);
  } catch (error) {
    return broken(error instanceof Error ? error.message : String(error));
  }
  const record = policyRecordSchema.safeParse(data);
  return record.success ? record.data : broken(z.prettifyError(record.error));
}

function broken(reason: string): PolicyMistake {
  return { path: "", message: `the record cannot be read: ${reason}`, line: 1, column: 1 };
}

/**
 * The newest policy of the registry that can be used: a broken one does not take the place of the one before, also
 * when the process is started anew. An empty registry gets the shipped one.
 */
export async function policyInForce(registry: Registry, log: Log): Promise<Policy> {
  const newest = (await registry.get("policy", policyKey)) ?? (await shipPolicy(registry));
  const parsed = policyIn(newest);
  if ("policy" in parsed) return parsed.policy;
  for (const entry of await registry.history("policy", policyKey, revisionsMax)) {
    const older = policyIn(entry);
    if (!("policy" in older)) continue;
    log.error(
      { revision: newest.revision, mistakes: parsed.mistakes, inForce: entry.revision },
      "the policy cannot be used, the one before stays in force",
    );
    return older.policy;
  }
  log.error(
    { revision: newest.revision, mistakes: parsed.mistakes },
    "the policy cannot be used, the shipped one is in force",
  );
  const shipped = parsePolicy(defaultPolicyYaml(), newest.revision);
  if ("policy" in shipped) return shipped.policy;
  throw new Error("expected the shipped policy to be valid, found mistakes");
}

async function shipPolicy(registry: Registry): Promise<Entry> {
  const outcome = await registry.set({
    kind: "policy",
    key: policyKey,
    value: JSON.stringify({ yaml: defaultPolicyYaml() }),
    baseRevision: 0,
    author: "preset",
    comment: "as shipped",
  });
  const entry = outcome.kind === "set" ? outcome.entry : outcome.current;
  if (entry === undefined) throw new Error("expected a policy in the registry, found none");
  return entry;
}

/** What the names of a policy can name here. Before the first pool is registered, nothing is said of what pools have. */
export function worldOf({ geography, dispatcher }: Replica): PolicyWorld {
  const { pools } = dispatcher;
  const map = {
    regions: new Set<string>(geography.regions.keys()),
    demandAreas: new Set([...geography.origins.values()].map(({ demandArea }) => demandArea)),
  };
  if (pools.length === 0) return map;
  return {
    ...map,
    vendors: new Set(pools.map(({ vendor }) => vendor)),
    models: new Set(pools.flatMap(({ served }) => [...served.keys()])),
    tags: new Set(pools.flatMap(({ tags }) => [...tags])),
  };
}
