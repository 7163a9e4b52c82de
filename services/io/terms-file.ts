import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document } from "yaml";
import { canonicalJson } from "../core/settlement/canonical.ts";
import type { InstantUs } from "../core/units.ts";
import type { Mistake } from "../core/settlement/terms/mistake.ts";
import type { Calendar } from "../core/settlement/pricing/price-book.ts";
import { readFile, type Misfit } from "../core/settlement/terms/shape.ts";
import {
  termsId,
  termsKinds,
  type KindRules,
  type Party,
  type TermsByKind,
  type TermsKind,
} from "../core/settlement/terms/terms-kinds.ts";
import {
  syntaxMistakes,
  toMistakes,
  type Finding,
  type PolicyMistake as PlacedMistake,
} from "./policy-mistakes.ts";
import { loadCalendar } from "./preset.ts";

/** A file of a person as the document it stands for. */
export interface TermsFile {
  readonly kind: TermsKind;
  readonly id: string;
  readonly pair: Party;
  readonly signers: readonly Party[];
  /** Canonical: what is hashed, proposed and signed. */
  readonly text: string;
  readonly value: TermsByKind[TermsKind];
}

export type ParsedTerms = TermsFile | { readonly mistakes: readonly PlacedMistake[] };

/** What a file says it is, by its member `type`. */
const kindByType: Readonly<Record<string, TermsKind>> = {
  contract: "contract",
  price_version: "price-version",
  calendar: "calendar",
  split_rule: "split-rule",
  standard_tokens: "standard-tokens",
  reprice: "reprice",
};

/** Rules speak of a book by the core's names; a file has those of canonical text. */
const fileNames: Readonly<Record<string, string>> = {
  effectiveFromUs: "effective_from_us",
  effectiveToUs: "effective_to_us",
  announcedUs: "announced_us",
  pair: "pair_id",
  id: "book_id",
  baseSlot: "base_slot",
  input: "in_from",
  output: "out_from",
  volumeTiers: "tiers",
  fromTokens: "tier_from",
  pricePicoPerToken: "pico_per_token",
  minPicoPerRequest: "min_pico_per_request",
};

/**
 * Terms in YAML or JSON, or everything that is wrong with them at once, with line and column. Numbers are read as they
 * are written: what is a price stays decimal text until it is a whole number of pico. `defaultType` is what a file without
 * a `type` is; `fromUs` is when the terms begin, whatever the file says.
 */
export function parseTerms(
  yaml: string,
  defaultType: string,
  calendarOf: (id: string) => Calendar | undefined = presetCalendar,
  fromUs?: InstantUs,
): ParsedTerms {
  const lines = new LineCounter();
  const document = parseDocument(yaml, { lineCounter: lines });
  const broken = syntaxMistakes(document, lines);
  if (broken.length > 0) return { mistakes: broken };
  const written = textsOf(document, document.contents);
  const data = fromUs === undefined ? written : beginningAt(written, fromUs);
  const type = typeOf(data) ?? defaultType;
  const kind = kindByType[type];
  if (kind === undefined) {
    const expected = Object.keys(kindByType).join(", ");
    const message = `expected one of ${expected}, found ${JSON.stringify(type)}`;
    return { mistakes: toMistakes([{ path: ["type"], message }], document, lines) };
  }
  const made = termsOf(kind, data, calendarOf);
  return "findings" in made ? { mistakes: toMistakes(made.findings, document, lines) } : made;
}

function termsOf<Kind extends TermsKind>(
  kind: Kind,
  data: unknown,
  calendarOf: (id: string) => Calendar | undefined,
): TermsFile | { readonly findings: readonly Finding[] } {
  const rules: KindRules<TermsByKind[Kind]> = termsKinds[kind];
  const shape = rules.shape(calendarOf);
  const read = readFile(shape, data);
  if ("misfits" in read) return { findings: read.misfits.map(toFinding) };
  const { value } = read;
  // Whether its number follows only the server knows, which has the version before.
  const wrong = rules
    .check(value, undefined, undefined)
    .filter(({ path }) => path !== "version" || rules.version(value) < 1n);
  if (wrong.length > 0) return { findings: wrong.map(fromMistake) };
  return {
    kind,
    id: termsId(kind, value),
    pair: rules.pair(value),
    signers: rules.signers(value),
    text: canonicalJson(shape.write(value)),
    value,
  };
}

function toFinding({ path, message, isKey = false }: Misfit): Finding {
  return { path, message, isKey };
}

/** `lines[3].tiers[1].fromTokens` → its place in the file. */
function fromMistake({ path, message }: Mistake): Finding {
  const parts = path === "" ? [] : path.split(/\.|(?=\[)/);
  return {
    path: parts.map((part) => {
      const [, index] = /^\[(\d+)\]$/.exec(part) ?? [];
      return index === undefined ? (fileNames[part] ?? part) : Number(index);
    }),
    message,
  };
}

function beginningAt(data: unknown, fromUs: InstantUs): unknown {
  const isMap = typeof data === "object" && data !== null && !Array.isArray(data);
  return isMap ? { ...data, effective_from_us: String(fromUs) } : data;
}

/** Plain data in which every number is still its text. */
function textsOf(document: Document, node: unknown): unknown {
  if (isAlias(node)) return textsOf(document, node.resolve(document));
  if (isMap(node)) {
    return Object.fromEntries(
      node.items.map(({ key, value }) => [
        isScalar(key) ? String(key.value) : String(key),
        textsOf(document, value),
      ]),
    );
  }
  if (isSeq(node)) return node.items.map((item) => textsOf(document, item));
  if (!isScalar(node)) return null;
  const { value, source } = node;
  return typeof value === "number" || typeof value === "bigint" ? (source ?? String(value)) : value;
}

function typeOf(data: unknown): string | undefined {
  if (typeof data !== "object" || data === null || !("type" in data)) return undefined;
  return String(data.type);
}

function presetCalendar(id: string): Calendar | undefined {
  const calendar = loadCalendar();
  return id === calendar.id ? calendar : undefined;
}
