import { parse, stringify } from "yaml";
import type { Policy } from "../../core/placement/policy.ts";
import { defaultPolicyYaml, parsePolicy, type PolicyMistake } from "../../io/policy-file.ts";
import { placed } from "../../io/policy-mistakes.ts";
import { readText } from "../document.ts";
import { Refusal } from "../outcome.ts";

/** Name of the shipped policy in what is printed. */
export const shippedName = "the shipped policy";

/** A policy with the name that it has for people. */
export interface NamedPolicy {
  readonly name: string;
  readonly policy: Policy;
}

/** The file, or the shipped policy if none is given. Throws a `Refusal` that lists every mistake. */
export function readPolicy(path: string | undefined): NamedPolicy {
  const name = path ?? shippedName;
  return policyOf(name, path === undefined ? defaultPolicyYaml() : readText(path));
}

export function policyOf(name: string, yaml: string, revision = 0): NamedPolicy {
  const parsed = parsePolicy(yaml, revision);
  if ("mistakes" in parsed) throw new Refusal(refusalText(name, parsed.mistakes));
  return { name, policy: parsed.policy };
}

export function refusalText(name: string, mistakes: readonly PolicyMistake[]): string {
  return `${name}:\n${mistakes.map((each) => `  ${placed(each)}`).join("\n")}`;
}

/** What a file of cases lays on the policy that it is run under. */
export interface Additions {
  readonly rows?: readonly unknown[] | undefined;
  readonly overrides?: readonly unknown[] | undefined;
}

/** The text with more rows and overrides at the end. A text that is no policy is left as it is. */
export function withAdditions(yaml: string, { rows = [], overrides = [] }: Additions): string {
  const data: unknown = parse(yaml);
  if (typeof data !== "object" || data === null) return yaml;
  return stringify({
    ...data,
    rows: [...listIn(data, "rows"), ...rows],
    overrides: [...listIn(data, "overrides"), ...overrides],
  });
}

function listIn(data: object, name: string): readonly unknown[] {
  const list: unknown = Object.entries(data).find(([key]) => key === name)?.[1];
  return Array.isArray(list) ? list : [];
}
