import { readFileSync } from "node:fs";
import { LineCounter, parseDocument } from "yaml";
import type { Policy, PolicyOverride, PolicyRow } from "../core/placement/policy.ts";
import { toBudgets, toClassTable } from "./budget-schema.ts";
import {
  schemaFindings,
  syntaxMistakes,
  toMistakes,
  type PolicyMistake,
} from "./policy-mistakes.ts";
import { nameFindings } from "./policy-names.ts";
import { policySchema, type OverrideFile, type PolicyFile, type RowFile } from "./policy-schema.ts";
import { warningsOf, type PolicyWorld } from "./policy-warnings.ts";

export type { PolicyMistake } from "./policy-mistakes.ts";

/** The shipped policy. */
const defaultPolicy = new URL(
  "../../deploy/policies/east-data-west-computing.yaml",
  import.meta.url,
);

export type ParsedPolicy =
  | {
      readonly policy: Policy;
      /** What changes nothing, or is probably not meant. */
      readonly warnings: readonly PolicyMistake[];
    }
  | { readonly mistakes: readonly PolicyMistake[] };

/** The text of the shipped policy, comments included. */
export function defaultPolicyYaml(): string {
  return readFileSync(defaultPolicy, "utf8");
}

/** A policy, or everything that is wrong with it at once. `world` is what names may name, where it is known. */
export function parsePolicy(yaml: string, revision: number, world: PolicyWorld = {}): ParsedPolicy {
  const lines = new LineCounter();
  const document = parseDocument(yaml, { lineCounter: lines });
  const broken = syntaxMistakes(document, lines);
  if (broken.length > 0) return { mistakes: broken };
  let data: unknown;
  try {
    data = document.toJS();
  } catch (error) {
    // Aliases of aliases without end.
    if (!(error instanceof ReferenceError)) throw error;
    return { mistakes: [{ path: "", message: error.message, line: 1, column: 1 }] };
  }
  const checked = policySchema.safeParse(data);
  const findings = [
    ...(checked.success ? [] : schemaFindings(checked.error, data)),
    ...nameFindings(data),
  ];
  if (!checked.success || findings.length > 0) {
    return { mistakes: toMistakes(findings, document, lines) };
  }
  const policy = toPolicy(checked.data, revision);
  return { policy, warnings: toMistakes(warningsOf(policy, data, world), document, lines) };
}

function toPolicy(
  { objectives, rows, overrides, budgets, classTable, sources, ...rest }: PolicyFile,
  revision: number,
): Policy {
  const objectivesOf = (name: keyof typeof objectives) => ({
    ...objectives[name],
    slotsUsedRatioMax: objectives[name].slotsUsedRatioMax ?? 1,
    gramsCo2Max: objectives[name].gramsCo2Max,
  });
  return {
    ...rest,
    revision,
    objectives: {
      "metro-realtime": objectivesOf("metro-realtime"),
      "realtime-interactive": objectivesOf("realtime-interactive"),
      "llm-interactive": objectivesOf("llm-interactive"),
      "batch-offline": objectivesOf("batch-offline"),
      archival: objectivesOf("archival"),
    },
    rows: rows.map(toRow),
    ...(budgets && { budgets: toBudgets(budgets) }),
    ...(classTable && { classTable: toClassTable(classTable) }),
    ...(overrides && { overrides: overrides.map(toOverride) }),
    sources: Object.fromEntries(
      Object.entries(sources).map(([key, { citation, url }]) => [
        key,
        url === undefined ? citation : `${citation}; ${url}`,
      ]),
    ),
  };
}

function toOverride({ rowsInstead, ...settings }: OverrideFile): PolicyOverride {
  return rowsInstead === undefined
    ? settings
    : { ...settings, rowsInstead: rowsInstead.map(toRow) };
}

/** The schema says that exactly one deed is there. */
function toRow({ require, exempt, tariff, warn, ...head }: RowFile): PolicyRow {
  if (require !== undefined) return { ...head, kind: "require", ...require };
  if (exempt !== undefined) return { ...head, kind: "exempt", ...exempt };
  if (tariff !== undefined) {
    const { pool, ...size } = tariff;
    return { ...head, kind: "tariff", pool, tariff: size };
  }
  return { ...head, kind: "warn", pool: warn?.pool ?? {} };
}
