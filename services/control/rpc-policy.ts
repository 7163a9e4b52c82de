import { createHash } from "node:crypto";
import type { ServiceImpl } from "@connectrpc/connect";
import { parsePolicy } from "../io/policy-file.ts";
import { placed } from "../io/policy-mistakes.ts";
import type { Entry } from "../io/registry.ts";
import { toConnectError } from "../wire/errors.ts";
import type { PolicyService } from "../wire/gen/tokengrid/v1/policy_pb.js";
import { fromPolicyMistakes, fromPolicyText, type PolicyText } from "../wire/policy.ts";
import { requireOperator } from "./caller.ts";
import { policyKey, revisionsMax, textIn, worldOf } from "./policy-record.ts";
import type { Replica } from "./replica.ts";

const historyDefault = 50;

/** The operator's rules: refused whole, or durable and in force when the call returns. */
export function policyService(replica: Replica): ServiceImpl<typeof PolicyService> {
  const { registry, feed, metrics, clock, dispatcher } = replica;
  const revisionInForce = (): bigint => BigInt(dispatcher.policy.revision);
  return {
    get: async ({ revision }, { values }) => {
      requireOperator(values);
      const entry =
        revision === 0n
          ? await registry.get("policy", policyKey)
          : await atRevision(registry, Number(revision));
      if (entry === undefined) {
        throw toConnectError("NOT_FOUND", `expected a policy revision, found none of ${revision}`);
      }
      return { policy: fromPolicyText(textOf(entry)), revisionInForce: revisionInForce() };
    },
    set: async ({ yaml, baseRevision, author, comment }, { values }) => {
      const caller = requireOperator(values);
      const parsed = parsePolicy(yaml, 0);
      if ("mistakes" in parsed) {
        metrics.policyLoaded(false, clock.now());
        const list = parsed.mistakes.map(placed).join(", ");
        throw toConnectError("BAD_REQUEST", `the policy cannot be used: ${list}`);
      }
      const outcome = await registry.set({
        kind: "policy",
        key: policyKey,
        value: JSON.stringify({ yaml }),
        baseRevision: Number(baseRevision),
        author: author === "" ? caller.subject : author,
        comment,
      });
      if (outcome.kind === "conflict") {
        const found = outcome.current?.revision ?? 0;
        throw toConnectError("CONFLICT", `base_revision: expected ${found}, found ${baseRevision}`);
      }
      await feed.reached(outcome.entry.revision);
      return { policy: fromPolicyText(textOf(outcome.entry)) };
    },
    validate: ({ yaml }, { values }) => {
      requireOperator(values);
      const parsed = parsePolicy(yaml, 0, worldOf(replica));
      return "mistakes" in parsed
        ? fromPolicyMistakes(parsed.mistakes)
        : fromPolicyMistakes([], parsed.warnings);
    },
    listHistory: async ({ limit }, { values }) => {
      requireOperator(values);
      const entries = await registry.history(
        "policy",
        policyKey,
        limit === 0 ? historyDefault : limit,
      );
      return {
        policies: entries.map((entry) => fromPolicyText(textOf(entry))),
        revisionInForce: revisionInForce(),
      };
    },
  };
}

async function atRevision(
  registry: Replica["registry"],
  revision: number,
): Promise<Entry | undefined> {
  const entries = await registry.history("policy", policyKey, revisionsMax);
  return entries.find((entry) => entry.revision === revision);
}

function textOf(entry: Entry): PolicyText {
  const { revision, author, comment, setAtUs } = entry;
  const yaml = textIn(entry);
  const hash = createHash("sha256").update(yaml).digest("hex");
  return { revision, yaml, hash, author, comment, setAtUs };
}
