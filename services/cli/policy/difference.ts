import { isDeepStrictEqual } from "node:util";
import { dualCny, inUnit, type Budget } from "../../core/placement/budget.ts";
import { houseClassTable } from "../../core/placement/class-table.ts";
import type { Policy } from "../../core/placement/policy.ts";
import { budgetUnitNames } from "../budget-text.ts";
import { grouped, span, yuan } from "../print.ts";

/** One thing that one policy says and the other does not. Undefined on one side: it is only in the other. */
export interface Change {
  /** `rows.W3.tariff.nanoPerToken`. */
  readonly path: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** What differs in meaning: rows, overrides and sources by their ids, everything else field by field. */
export function changesBetween(before: Policy, after: Policy): readonly Change[] {
  return [...changesIn("", plainOf(before), plainOf(after))];
}

type Tree = Readonly<Record<string, unknown>>;

/** Lists that have ids become tables by id, with their order beside them; sets become sorted lists. */
function plainOf({ revision: _revision, budgets, classTable, ...policy }: Policy): Tree {
  const { deadlines, ...table } = classTable ?? houseClassTable;
  return tree(
    plain({
      ...policy,
      ...(budgets && { budgets: budgets.map(budgetFields) }),
      classTable: {
        ...table,
        deadlines: new Map(deadlines.map((each) => [`${grouped(each.msMax)} ms`, each.class])),
      },
    }),
  );
}

/** In the units of the file, and of what is told of budgets elsewhere. */
function budgetFields({ id, when, unit, limit, windowMs, isHard, dualNanoMax }: Budget) {
  return {
    id,
    when,
    window: span(windowMs),
    limit: `${inUnit(unit, limit)} ${budgetUnitNames[unit]}`,
    stop: isHard ? "hard" : "priced",
    dualMax: `${dualCny(unit, dualNanoMax)} CNY per ${budgetUnitNames[unit]}`,
  };
}

function plain(value: unknown): unknown {
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (value instanceof Set) return [...value].map(String).toSorted();
  if (Array.isArray(value)) return value.every(hasId) ? byId(value) : value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
}

function hasId(value: unknown): value is { readonly id: string } {
  return typeof value === "object" && value !== null && "id" in value;
}

function byId(list: readonly { readonly id: string }[]): Tree {
  return Object.fromEntries(
    list.map(({ id, ...rest }, place) => [id, { ...tree(plain(rest)), place }]),
  );
}

function tree(value: unknown): Tree {
  return isTree(value) ? value : {};
}

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function* changesIn(path: string, before: Tree, after: Tree): Generator<Change> {
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (key === "place") continue;
    const [was, is] = [before[key], after[key]];
    const at = path === "" ? key : `${path}.${key}`;
    if (isTree(was) && isTree(is)) yield* changesIn(at, was, is);
    else if (isTree(was ?? {}) && isTree(is ?? {}) && isTableOfIds(was ?? is)) {
      yield* changesIn(at, tree(was), tree(is));
    } else if (!isDeepStrictEqual(was, is)) yield { path: at, before: bare(was), after: bare(is) };
  }
  const kept = (table: Tree, other: Tree): string[] =>
    Object.entries(table)
      .filter(([id, each]) => id in other && isTree(each) && typeof each["place"] === "number")
      .toSorted(([, a], [, b]) => Number(tree(a)["place"]) - Number(tree(b)["place"]))
      .map(([id]) => id);
  const [wasOrder, isOrder] = [kept(before, after), kept(after, before)];
  if (!isDeepStrictEqual(wasOrder, isOrder)) {
    yield { path: `${path} in order`, before: wasOrder, after: isOrder };
  }
}

/** Where it stands is said of the list, not of what is in it. */
function bare(value: unknown): unknown {
  if (!isTree(value)) return value;
  const { place: _place, ...rest } = value;
  return rest;
}

function isTableOfIds(value: unknown): boolean {
  const all = Object.values(tree(value));
  return all.length > 0 && all.every((each) => typeof tree(each)["place"] === "number");
}

/** One line each: `+` came, `-` went, `~` is another. */
export function changeLines(changes: readonly Change[]): string[] {
  return changes.map(({ path, before, after }) => {
    if (before === undefined) return `+ ${path}: ${said(path, after)}`;
    if (after === undefined) return `- ${path}: ${said(path, before)}`;
    return `~ ${path}: ${said(path, before)} → ${said(path, after)}`;
  });
}

function said(path: string, value: unknown): string {
  if (typeof value === "number") return `${number(value)}${unitOf(path, value)}`;
  if (Array.isArray(value)) return value.map(String).join(" ");
  if (!isTree(value)) return String(value);
  if (Object.keys(value).length === 0) return "any";
  const { basis, kind, textEn } = value;
  if (typeof textEn === "string") {
    return [kind, basis, textEn].filter((part) => typeof part === "string").join(", ");
  }
  return Object.entries(value)
    .map(([key, each]) => `${key} ${said(key, each)}`)
    .join(", ");
}

function number(value: number): string {
  return Math.abs(value) >= 1_000 && Number.isInteger(value) ? grouped(value) : String(value);
}

/** By the end of the field's name; money is said in yuan as well, where it is of a size that people know. */
const units: readonly (readonly [end: RegExp, unit: (value: number) => string])[] = [
  [/NanoPerGram$/, (value) => ` nano-CNY per gram (${number(value / 1_000)} CNY per tonne of CO2)`],
  [/anoPerToken(Max)?$/, (value) => ` nano-CNY per token (${value / 1_000} CNY per million)`],
  [/NanoPerMs$/, () => " nano-CNY per ms"],
  [/NanoPerSlotMs$/, () => " nano-CNY per slot and ms"],
  [/NanoPerKvTokenMs$/, () => " nano-CNY per KV token and ms"],
  [/Nano(Max)?$/, (value) => ` nano-CNY (${yuan(BigInt(Math.round(value)))} CNY)`],
  [/Ms(Max|Above)?$|^leaseMs$/, () => " ms"],
  [/gramsCo2Max$/, () => " g of CO2"],
  [/[wW]atts$/, () => " W"],
  [/[tT]okens(Default|Total)?$/, () => " tokens"],
  [/(Share|Target|Ratio|RatioMax)$/, (value) => ` (${number(Math.round(value * 1_000) / 10)} %)`],
];

function unitOf(path: string, value: number): string {
  const name = path.split(".").at(-1) ?? path;
  return units.find(([end]) => end.test(name))?.[1](value) ?? "";
}
