import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, visit } from "yaml";
import type { Document, ErrorCode } from "yaml";
import { z } from "zod";
import { policyJsonSchema, type SchemaNode } from "./policy-schema.ts";

/** One thing that is wrong with a policy file, or odd: where, and what was expected and found. */
export interface PolicyMistake {
  /** `rows[3].require.pool.regions[0]`; empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
  /** Both from 1. */
  readonly line: number;
  readonly column: number;
}

/** A mistake before it has a line. */
export interface Finding {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  /** It is the key that is wrong, not its value. */
  readonly isKey?: boolean;
}

/** `file:12:5: rows[3].when: unknown key colour`. */
export function placed(mistake: Omit<PolicyMistake, "path"> & { readonly path: string }): string {
  const { line, column, path, message } = mistake;
  return path === "" ? `${line}:${column}: ${message}` : `${line}:${column}: ${path}: ${message}`;
}

/** Where the parser speaks of itself. */
const syntaxTexts: Partial<Record<ErrorCode, string>> = {
  DUPLICATE_KEY: "this key is there already",
  MULTIPLE_DOCS: "expected one document, found another behind ---",
};

/** What is wrong with the text as YAML: nothing else can be said of it then. */
export function syntaxMistakes(document: Document, lines: LineCounter): PolicyMistake[] {
  const broken = document.errors.map(({ code, message, pos }) =>
    at(lines, pos[0], "", syntaxTexts[code] ?? message.replace(/ at line \d+[\s\S]*/, "")),
  );
  // Brackets that are never closed complain each, all at the end.
  const told = new Map(broken.map((each) => [placed(each), each]));
  if (told.size > 0) return [...told.values()];
  const lost: PolicyMistake[] = [];
  visit(document, {
    Alias: (_key, alias) => {
      if (alias.resolve(document) !== undefined) return;
      const text = `expected an anchor ${alias.source}, found none (Unresolved alias)`;
      lost.push(at(lines, alias.range?.[0] ?? 0, "", text));
    },
  });
  return lost;
}

/** Where each is in the text, in the order of the text. */
export function toMistakes(
  findings: readonly Finding[],
  document: Document,
  lines: LineCounter,
): PolicyMistake[] {
  return findings
    .map(({ path, message, isKey = false }) =>
      at(lines, offsetOf(document, path, isKey), pathText(path), message),
    )
    .toSorted((a, b) => a.line - b.line || a.column - b.column);
}

function at(lines: LineCounter, offset: number, path: string, message: string): PolicyMistake {
  const { line, col } = lines.linePos(offset);
  return { path, message, line: Math.max(1, line), column: Math.max(1, col) };
}

function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) =>
      typeof part === "number" ? `[${part}]` : `${index > 0 ? "." : ""}${String(part)}`,
    )
    .join("");
}

/** Of the value, or of the key that names it; of what is around it where there is no such thing. */
function offsetOf(document: Document, path: readonly PropertyKey[], isKey: boolean): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const part of path) {
    const parent = isAlias(node) ? node.resolve(document) : node;
    if (isMap(parent)) {
      const pair = parent.items.find(({ key }) => isScalar(key) && String(key.value) === part);
      if (pair === undefined) return offset;
      offset = startOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(parent) && typeof part === "number") {
      node = parent.items[part];
      offset = startOf(node) ?? offset;
    } else return offset;
  }
  return isKey || !isScalar(node) ? offset : (startOf(node) ?? offset);
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

/** What the schema finds, each unknown key by itself. */
export function schemaFindings(error: z.ZodError, data: unknown): Finding[] {
  return error.issues.flatMap((issue): Finding[] => {
    const { path, message } = issue;
    if (issue.code === "unrecognized_keys") {
      const known = keysAt(path);
      return issue.keys.map((key) => ({
        path: [...path, key],
        message: `unknown key ${key}${meant(key, known)}`,
        isKey: true,
      }));
    }
    const found = valueAt(data, path);
    if (issue.code === "invalid_type" && found === undefined) {
      return [{ path, message: `expected ${issue.expected}, found nothing` }];
    }
    const options = issue.code === "invalid_value" ? issue.values.map(String) : [];
    const said = message.replace(/^Invalid \w+: /, "");
    return [{ path, message: `${said}${foundText(found)}${meant(found, options)}` }];
  });
}

function foundText(found: unknown): string {
  if (typeof found === "string") return `, found ${JSON.stringify(found)}`;
  return typeof found === "number" || typeof found === "boolean" ? `, found ${found}` : "";
}

function valueAt(data: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, part) =>
      typeof value === "object" && value !== null
        ? Object.entries(value).find(([key]) => key === String(part))?.[1]
        : undefined,
    data,
  );
}

/** Keys that the schema has at a place. */
function keysAt(path: readonly PropertyKey[]): readonly string[] {
  const node = path.reduce<SchemaNode | undefined>((above, part) => {
    if (typeof part === "number") return above?.items;
    const { additionalProperties: other } = above ?? {};
    return above?.properties?.[String(part)] ?? (typeof other === "object" ? other : undefined);
  }, policyJsonSchema());
  return node?.propertyNames?.enum ?? Object.keys(node?.properties ?? {});
}

/** `; did you mean classes?`, if one of the known names is near enough to be a slip of it. */
export function meant(found: unknown, known: Iterable<string>): string {
  if (typeof found !== "string") return "";
  let best: string | undefined;
  let least = Math.max(1, Math.floor(found.length / 3)) + 1;
  for (const name of known) {
    const steps = name.startsWith(found) && found.length >= 3 ? 1 : distance(found, name);
    if (steps < least) [best, least] = [name, steps];
  }
  return best === undefined ? "" : `; did you mean ${best}?`;
}

/** Letters to put in, take out or exchange (Levenshtein), whatever their case. */
function distance(from: string, to: string): number {
  const [a, b] = [from.toLowerCase(), to.toLowerCase()];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const exchanged = (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(exchanged, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
