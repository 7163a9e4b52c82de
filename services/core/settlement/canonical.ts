/** What canonical text can hold. Integers are written as strings: a reader's doubles cannot hold them. */
export type Canonical =
  string | bigint | boolean | null | readonly Canonical[] | { readonly [name: string]: Canonical };

/** Hex digest of a text's UTF-8 bytes; the algorithm is the machine's. */
export type Sha256 = (text: string) => string;

/** JSON as RFC 8785 writes it: no spaces, names in order of their code units. Equal values, equal bytes. */
export function canonicalJson(value: Canonical): string {
  if (typeof value === "bigint") return `"${value}"`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (isList(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const members = Object.keys(value)
    .toSorted()
    .map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name] ?? null)}`);
  return `{${members.join(",")}}`;
}

function isList(value: object): value is readonly Canonical[] {
  return Array.isArray(value);
}
