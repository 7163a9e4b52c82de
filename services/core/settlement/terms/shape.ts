import { canonicalJson, type Canonical } from "../canonical.ts";

/** A mistake before it is known how its place is written. */
export interface Misfit {
  readonly path: readonly (string | number)[];
  readonly message: string;
  /** It is the name that is wrong, not its value. */
  readonly isKey?: boolean;
}

/** Where in a document something is read; gathers all that is wrong with it. */
export class Place {
  readonly path: readonly (string | number)[];
  readonly misfits: Misfit[];
  /** People may leave out what has a default; canonical text may not. */
  readonly isLenient: boolean;

  constructor(isLenient: boolean, path: readonly (string | number)[] = [], misfits: Misfit[] = []) {
    this.isLenient = isLenient;
    this.path = path;
    this.misfits = misfits;
  }

  at(part: string | number): Place {
    return new Place(this.isLenient, [...this.path, part], this.misfits);
  }

  /** Always undefined: what was read is of no use. */
  refuse(expected: string, found: unknown, hint = ""): undefined {
    const message = `expected ${expected}, found ${shownValue(found)}${hint}`;
    this.misfits.push({ path: this.path, message });
    return undefined;
  }

  refuseKey(key: string, message: string): void {
    this.misfits.push({ path: [...this.path, key], message, isKey: true });
  }
}

/**
 * How a value is written in canonical text and read from it, or from a file of a person. Numbers come as their text: what
 * was once a double is not believed.
 */
export interface Shape<Value> {
  write(value: Value): Canonical;
  /** Undefined is told as a mistake, but for a shape that is `optional`. */
  read(found: unknown, place: Place): Value | undefined;
}

/** One member of an object: its name in the text, its shape, and what it is if it is left out. */
export type Member<Value> = readonly [
  name: string,
  shape: Shape<Value>,
  fallback?: Fallback<Value>,
];

/** In a box, since a default may be undefined. */
export interface Fallback<Value> {
  readonly value: Value;
}

export function otherwise<Value>(value: Value): Fallback<Value> {
  return { value };
}

/** A member for each key. */
export type Members<Type extends object> = {
  readonly [Key in keyof Required<Type>]: Member<Type[Key]>;
};

/** An object whose members are told in a table, so that writing and reading cannot disagree. */
export function object<Type extends object>(
  members: Members<Type>,
  head: Readonly<Record<string, string>> = {},
): Shape<Type> {
  const all = Object.entries(members) as [keyof Type & string, Member<unknown>][];
  const known = new Set([...Object.keys(head), ...all.map(([, [name]]) => name)]);
  return {
    write: (value) => ({
      ...head,
      ...Object.fromEntries(all.map(([key, [name, shape]]) => [name, shape.write(value[key])])),
    }),
    read: (found, place) => {
      if (!isObject(found)) return place.refuse("an object", found);
      const given = found;
      for (const [name, word] of Object.entries(head)) {
        const is = given[name] ?? (place.isLenient ? word : undefined);
        if (is !== word) place.at(name).refuse(JSON.stringify(word), is);
      }
      for (const key of Object.keys(given)) {
        if (!known.has(key)) place.refuseKey(key, `unknown key ${key}${meant(key, known)}`);
      }
      const values = all.map(([key, member]) => [key, readMember(given, member, place)] as const);
      // What is undefined and was no mistake is absent.
      return Object.fromEntries(values.filter(([, value]) => value !== undefined)) as Type;
    },
  };
}

function readMember(
  given: Readonly<Record<string, unknown>>,
  [name, shape, fallback]: Member<unknown>,
  place: Place,
): unknown {
  const value = given[name];
  if (value !== undefined) return shape.read(value, place.at(name));
  if (place.isLenient && fallback !== undefined) return fallback.value;
  return place.at(name).refuse("a value", undefined);
}

export function text(pattern: RegExp, expected: string): Shape<string> {
  return {
    write: (value) => value,
    read: (found, place) =>
      typeof found === "string" && pattern.test(found) ? found : place.refuse(expected, found),
  };
}

/** Ids are branded: the pattern is the same for all. */
export function id<Id extends string>(expected = "an id"): Shape<Id> {
  const shape = text(/^[A-Za-z0-9*][\w.:@/*-]{0,126}$/, expected);
  return {
    write: (value) => value,
    read: (found, place) => shape.read(found, place) as Id | undefined,
  };
}

/** Text for people: no control characters. */
export function note(lengthMax: number): Shape<string> {
  return {
    write: (value) => value,
    read: (found, place) =>
      typeof found === "string" && found.length <= lengthMax && !/\p{Cc}/u.test(found)
        ? found
        : place.refuse(`a line of at most ${lengthMax} characters`, found),
  };
}

/** Whole numbers of at most 18 digits, which is what a ledger can keep. */
export function integer(min: bigint, max = 999_999_999_999_999_999n): Shape<bigint> {
  const expected = `a whole number from ${min} to ${max}`;
  return {
    write: (value) => value,
    read: (found, place) => {
      if (typeof found !== "string" || !/^(?:0|-?[1-9]\d{0,17})$/.test(found)) {
        return place.refuse(expected, found);
      }
      const value = BigInt(found);
      return value >= min && value <= max ? value : place.refuse(expected, found);
    },
  };
}

/** The same, few enough for a plain number. */
export function small(min: number, max: number): Shape<number> {
  const shape = integer(BigInt(min), BigInt(max));
  return {
    write: (value) => BigInt(value),
    read: (found, place) => {
      const value = shape.read(found, place);
      return value === undefined ? undefined : Number(value);
    },
  };
}

const instantShape = integer(0n, 99_999_999_999_999_999n);

/** Microseconds; a file may say `2026-01-01T00:00:00+08:00`, with its offset. */
export const instant: Shape<bigint> = {
  write: (value) => value,
  read: (found, place) => {
    const expected = "microseconds since 1970 or 2026-01-01T00:00:00+08:00";
    if (typeof found !== "string") return place.refuse(expected, found);
    if (!place.isLenient || /^\d+$/.test(found)) return instantShape.read(found, place);
    const isWhole = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)$/.test(found);
    const ms = isWhole ? Date.parse(found) : Number.NaN;
    return Number.isNaN(ms) || ms < 0 ? place.refuse(expected, found) : BigInt(ms) * 1_000n;
  },
};

/** One of a closed set of words. */
export function word<Word extends string>(
  words: readonly Word[],
  nameOf: (word: Word) => string = snake,
): Shape<Word> {
  const byName = new Map(words.map((each) => [nameOf(each), each]));
  return {
    write: (value) => nameOf(value),
    read: (found, place) => {
      const value = typeof found === "string" ? byName.get(found) : undefined;
      if (value !== undefined) return value;
      const hint = typeof found === "string" ? meant(found, byName.keys()) : "";
      return place.refuse(`one of ${[...byName.keys()].join(", ")}`, found, hint);
    },
  };
}

export function optional<Value>(shape: Shape<Value>): Shape<Value | undefined> {
  return {
    write: (value) => (value === undefined ? null : shape.write(value)),
    read: (found, place) => (found === null ? undefined : shape.read(found, place)),
  };
}

export function list<Value>(shape: Shape<Value>, countMax: number): Shape<readonly Value[]> {
  return {
    write: (values) => values.map((value) => shape.write(value)),
    read: (found, place) => {
      if (!Array.isArray(found)) return place.refuse("a list", found);
      const given: readonly unknown[] = found;
      if (given.length > countMax) {
        return place.refuse(`at most ${countMax} of them`, String(given.length));
      }
      const values = given.map((each, index) => shape.read(each, place.at(index)));
      return values.filter((each) => each !== undefined);
    },
  };
}

/** A shape that is written another way than it is kept. */
export function as<Kept, Written>(
  shape: Shape<Written>,
  to: (kept: Kept) => Written,
  from: (written: Written) => Kept,
): Shape<Kept> {
  return {
    write: (value) => shape.write(to(value)),
    read: (found, place) => {
      const value = shape.read(found, place);
      return value === undefined ? undefined : from(value);
    },
  };
}

/** What was read, or everything that is wrong with it. */
export type Reading<Value> = { readonly value: Value } | { readonly misfits: readonly Misfit[] };

/** Of a person's file: numbers are still their text. */
export function readFile<Value>(shape: Shape<Value>, data: unknown): Reading<Value> {
  const place = new Place(true);
  const value = shape.read(data, place);
  if (value !== undefined && place.misfits.length === 0) return { value };
  return { misfits: place.misfits };
}

/** Of canonical text. Other bytes for the same are refused too: they would have another hash. */
export function readCanonical<Value>(shape: Shape<Value>, canonical: string): Reading<Value> {
  const place = new Place(false);
  const data = parsed(canonical);
  if (data === undefined) return refusal("expected JSON");
  const value = shape.read(data, place);
  if (place.misfits.length > 0 || value === undefined) return { misfits: place.misfits };
  if (canonicalJson(shape.write(value)) === canonical) return { value };
  return refusal("expected canonical text (RFC 8785), found other bytes for the same");
}

function refusal(message: string): { readonly misfits: readonly Misfit[] } {
  return { misfits: [{ path: [], message }] };
}

function parsed(canonical: string): unknown {
  try {
    return JSON.parse(canonical);
  } catch {
    return undefined;
  }
}

/** `lines[3].tiers[1]`. */
export function pathText(path: readonly (string | number)[]): string {
  return path
    .map((part, index) =>
      typeof part === "number" ? `[${part}]` : `${index > 0 ? "." : ""}${part}`,
    )
    .join("");
}

/** `engine-final` → `engine_final`. */
export function snake(name: string): string {
  return name.replaceAll("-", "_");
}

function isObject(found: unknown): found is Readonly<Record<string, unknown>> {
  return typeof found === "object" && found !== null && !Array.isArray(found);
}

function shownValue(found: unknown): string {
  if (found === undefined) return "nothing";
  if (typeof found === "string") return JSON.stringify(found.slice(0, 80));
  if (Array.isArray(found)) return "a list";
  return isObject(found) ? "an object" : JSON.stringify(found);
}

/** `; did you mean x?`, if a known name begins alike. */
function meant(found: string, known: Iterable<string>): string {
  const near = [...known].find(
    (each) => each !== found && (each.startsWith(found.slice(0, 5)) || found.startsWith(each)),
  );
  return near === undefined ? "" : `; did you mean ${near}?`;
}
