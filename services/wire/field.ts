import { entries } from "../core/table.ts";
import { toConnectError } from "./errors.ts";

/** The field of a message that may not be empty. Throws INVALID_ARGUMENT with its name. */
export function required<Value>(field: string, value: Value | undefined): NonNullable<Value> {
  if (value === undefined || value === null || value === "") {
    throw toConnectError("BAD_REQUEST", `${field} is empty`, { metadata: { field } });
  }
  return value;
}

/** A word of the core and the number of the contract, both ways. */
export interface Words<Word extends string, Value extends number> {
  /** Throws INVALID_ARGUMENT with the words that were expected. */
  readonly toWord: (field: string, value: Value) => Word;
  readonly fromWord: (word: Word) => Value;
}

export function words<Word extends string, Value extends number>(
  table: Readonly<Record<Word, Value>>,
): Words<Word, Value> {
  const wordByValue = new Map(entries(table).map(([word, value]) => [value, word]));
  return {
    toWord: (field, value) => {
      const word = wordByValue.get(value);
      if (word !== undefined) return word;
      const expected = [...wordByValue.values()].join(", ");
      throw toConnectError("BAD_REQUEST", `${field}: expected one of ${expected}, found ${value}`, {
        metadata: { field },
      });
    },
    fromWord: (word) => table[word],
  };
}

/** Numbers of a map whose zero entries are left out on the wire. */
export function toMap<Key extends string, In, Out>(
  record: Readonly<Record<string, In>>,
  convert: (value: In) => Out,
): Map<Key, Out> {
  return new Map(Object.entries(record).map(([key, value]) => [key as Key, convert(value)]));
}

export function fromMap<In, Out>(
  map: ReadonlyMap<string, In>,
  convert: (value: In) => Out,
): Record<string, Out> {
  return Object.fromEntries([...map].map(([key, value]) => [key, convert(value)]));
}
