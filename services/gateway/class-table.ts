import { z } from "zod";
import { houseClassTable, type ClassTable } from "../core/placement/class-table.ts";
import type { Log } from "../io/log.ts";
import { parsePolicy } from "../io/policy-file.ts";
import type { Entry, Registry } from "../io/registry.ts";

const policyKey = "default";
const recordSchema = z.object({ yaml: z.string() });

/** The table by which requests get their class, as the policy in force has it. */
export interface ClassTables {
  readonly current: ClassTable;
}

/**
 * Follows the policy of the registry. One that cannot be read changes nothing: control says what is wrong with it.
 * Resolves when the one that was there already is known.
 */
export async function openClassTable(options: {
  readonly registry: Registry;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<ClassTables & { readonly watching: Promise<void> }> {
  const { registry, log, signal } = options;
  let current = houseClassTable;
  const apply = (entry: Entry): void => {
    if (entry.kind !== "policy" || entry.key !== policyKey || entry.isDeleted) return;
    current = tableIn(entry) ?? current;
  };
  const entry = await registry.get("policy", policyKey);
  if (entry !== undefined) apply(entry);
  const watch = async (): Promise<void> => {
    for await (const each of registry.watch(entry?.revision ?? 0, signal)) apply(each);
  };
  const watching = watch().catch((error: unknown) => {
    if (!signal.aborted) log.error({ error: String(error) }, "the policy is no longer followed");
  });
  return {
    get current() {
      return current;
    },
    watching,
  };
}

/** Undefined: the policy cannot be used, and the one before stays. */
function tableIn({ value, revision }: Entry): ClassTable | undefined {
  const record = recordSchema.safeParse(JSON.parse(value));
  if (!record.success) return undefined;
  const parsed = parsePolicy(record.data.yaml, revision);
  return "policy" in parsed ? (parsed.policy.classTable ?? houseClassTable) : undefined;
}
