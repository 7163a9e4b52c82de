import type { PlacementRequest } from "../core/placement/request.ts";
import type { JournalRecord } from "./journal.ts";

/** One line of a journal: a record, or a piece of an image that is written over several lines. */
export type JournalLine =
  | { readonly kind: "image"; readonly image: unknown; readonly isWhole?: boolean }
  | {
      readonly kind: "image-items";
      readonly path: readonly string[];
      readonly items: readonly unknown[];
    }
  /** With how many lines of items there are. */
  | { readonly kind: "image-end"; readonly lines: number }
  | Extract<JournalRecord, { readonly kind: "event" | "gap" }>;

/**
 * JSON that keeps what JSON has no word for: bigints, maps, sets and the numbers that are not finite. They become an
 * object with one key that begins with `$`; a key of our own never does. Absent values are left out.
 */
export function lineOf(line: JournalLine): string {
  if (line.kind !== "event" || line.event.kind !== "placement-requested") return textOf(line);
  const { event, given } = line;
  const answer = given === undefined ? "" : `,"given":${JSON.stringify(given)}`;
  return `{"kind":"event","event":{"kind":"${event.kind}","at":${event.at},"request":${requestText(event.request)}}${answer}}`;
}

/** Requests are most of a journal. The fields that all have are spelt out, which takes half the time. */
function requestText(request: PlacementRequest): string {
  let text = `{"request":${JSON.stringify(request.request)},"attempt":${JSON.stringify(
    request.attempt,
  )},"tenant":${JSON.stringify(request.tenant)},"model":${JSON.stringify(
    request.model,
  )},"class":"${request.class}","criticality":"${request.criticality}","origin":${JSON.stringify(
    request.origin,
  )},"regions":${setText(request.regions)},"dataClass":"${request.dataClass}","vendorsAllowed":${setText(
    request.vendorsAllowed,
  )},"vendorsDenied":${setText(request.vendorsDenied)},"excluded":${setText(request.excluded)}`;
  for (const key in request) {
    if (spelt.has(key)) continue;
    const value = request[key as keyof PlacementRequest];
    if (value !== undefined) text += `,"${key}":${textOf(value)}`;
  }
  return `${text}}`;
}

const spelt: ReadonlySet<string> = new Set<keyof PlacementRequest>([
  "request",
  "attempt",
  "tenant",
  "model",
  "class",
  "criticality",
  "origin",
  "regions",
  "dataClass",
  "vendorsAllowed",
  "vendorsDenied",
  "excluded",
]);

function setText(ids: ReadonlySet<string>): string {
  return ids.size === 0 ? '{"$set":[]}' : textOf(ids);
}

/** Any value as such text, the same for the same value whatever the order of its keys. */
export function canonicalText(value: unknown): string {
  return textOf(value, true);
}

/** Put together by hand: a plain copy for `JSON.stringify` takes twice as long. */
function textOf(value: unknown, isSorted = false): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "number":
      return Number.isFinite(value) ? String(value + 0) : `{"$number":"${value}"}`;
    case "boolean":
      return value ? "true" : "false";
    case "bigint":
      return `{"$bigint":"${value}"}`;
    case "object":
      return value === null ? "null" : textOfObject(value, isSorted);
    case "undefined":
    case "function":
    case "symbol":
      return "null";
  }
}

function textOfObject(value: object, isSorted: boolean): string {
  if (Array.isArray(value)) return listOf(value, isSorted);
  if (value instanceof Set) {
    return value.size === 0 ? '{"$set":[]}' : `{"$set":${listOf([...value], isSorted)}}`;
  }
  if (value instanceof Map) {
    return value.size === 0 ? '{"$map":[]}' : `{"$map":${listOf([...value], isSorted)}}`;
  }
  const object = value as Readonly<Record<string, unknown>>;
  const keys = Object.keys(object);
  if (isSorted) keys.sort();
  let text = "{";
  for (const key of keys) {
    const each = object[key];
    if (each === undefined) continue;
    text += `${text === "{" ? "" : ","}${keyText(key)}${textOf(each, isSorted)}`;
  }
  return `${text}}`;
}

/** Keys are few, and come again and again; those of a dictionary are not kept beyond the bound. */
const keyTexts = new Map<string, string>();
const keyTextsMax = 1_024;

function keyText(key: string): string {
  const known = keyTexts.get(key);
  if (known !== undefined) return known;
  const text = `${JSON.stringify(key)}:`;
  if (keyTexts.size < keyTextsMax) keyTexts.set(key, text);
  return text;
}

function listOf(values: readonly unknown[], isSorted: boolean): string {
  let text = "[";
  for (const each of values) text += `${text === "[" ? "" : ","}${textOf(each, isSorted)}`;
  return `${text}]`;
}

/** Throws `SyntaxError` for text that is no line of a journal. */
export function fromText(text: string): JournalLine {
  const line = revived(JSON.parse(text));
  if (isLine(line)) return line;
  throw new SyntaxError(`expected a line of a journal, found ${text.slice(0, 60)}`);
}

const kinds: ReadonlySet<unknown> = new Set<JournalLine["kind"]>([
  "image",
  "image-items",
  "image-end",
  "event",
  "gap",
]);

function isLine(value: unknown): value is JournalLine {
  return typeof value === "object" && value !== null && "kind" in value && kinds.has(value.kind);
}

const revivers: Readonly<Record<string, (value: never) => unknown>> = {
  $bigint: (text: string) => BigInt(text),
  $number: (text: string) => Number(text),
  $set: (values: unknown[]) => new Set(values),
  $map: (pairs: [unknown, unknown][]) => new Map(pairs),
};

/**
 * In place, what is inside first. A walk of our own: the reviver of `JSON.parse` is called for every number and text too
 * and takes several times as long.
 */
function revived(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const each: unknown = value[index];
      if (typeof each === "object" && each !== null) value[index] = revived(each);
    }
    return value;
  }
  return revivedObject(value as Record<string, unknown>);
}

function revivedObject(object: Record<string, unknown>): unknown {
  let keys = 0;
  let reviver: ((value: never) => unknown) | undefined;
  for (const key in object) {
    keys += 1;
    const each = object[key];
    if (typeof each === "object" && each !== null) object[key] = revived(each);
    if (key.charCodeAt(0) === dollar) reviver = revivers[key];
  }
  return reviver === undefined || keys > 1 ? object : reviver(Object.values(object)[0] as never);
}

const dollar = "$".charCodeAt(0);
