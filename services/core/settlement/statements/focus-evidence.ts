import { hourOf } from "./period.ts";
import type { FocusHour } from "./focus.ts";

/** What of the evidence of single records holds for a row as a whole. */
export interface FocusEvidence {
  /** Undefined: the records were not all counted by the same. */
  readonly countBasis: string | undefined;
  /** Bytes of answers, on rows of what was generated; undefined if a correction is among the records. */
  readonly outputBytes: bigint | undefined;
  /** Undefined: it is not known of all records, or not the same. */
  readonly tokenizerDigest: string | undefined;
}

interface Witness {
  readonly opened_us: string;
  readonly pool_id: string;
  readonly region_id: string;
  readonly out_bytes: string;
  readonly tool_bytes: string;
  readonly reasoning_bytes: string;
  readonly tokenizer_digest: string | null;
}

interface UsageMembers {
  readonly type: string;
  readonly settled?: {
    readonly count_basis: string;
    readonly charges: readonly { readonly line_id: string }[];
    readonly taken_back: readonly { readonly line_id: string }[];
  };
  readonly witness?: Witness;
}

interface Growing {
  readonly bases: Set<string>;
  readonly digests: Set<string | null>;
  answerBytes: bigint;
  reasoningBytes: bigint;
  isCorrected: boolean;
}

/** Gathers the evidence of rows from the leaves of a vendor's log; a tenant's leaves have none. */
export class EvidenceSum {
  readonly #byRow = new Map<string, Growing>();

  add(leaf: string): void {
    const { settled, witness } = JSON.parse(leaf) as UsageMembers;
    if (settled === undefined || witness === undefined) return;
    const { opened_us: openedUs, pool_id: pool, region_id: region } = witness;
    const isCorrected = settled.taken_back.length > 0;
    const charges = [...settled.charges, ...settled.taken_back];
    for (const line of new Set(charges.map((charge) => charge.line_id))) {
      const row = this.#row([hourOf(BigInt(openedUs)), line, pool, region].join("\n"));
      row.bases.add(settled.count_basis);
      row.digests.add(witness.tokenizer_digest);
      row.answerBytes += BigInt(witness.out_bytes) + BigInt(witness.tool_bytes);
      row.reasoningBytes += BigInt(witness.reasoning_bytes);
      row.isCorrected ||= isCorrected;
    }
  }

  /** Undefined if no leaf says anything of it. */
  of(hour: FocusHour): FocusEvidence | undefined {
    const { hourUs, line, pool, region, tokenClass } = hour;
    const row = this.#byRow.get([hourUs, line, pool, region].join("\n"));
    if (row === undefined) return undefined;
    const { answerBytes, reasoningBytes, isCorrected } = row;
    const generated = { response: answerBytes, reasoning: reasoningBytes };
    const bytes =
      tokenClass === "response" || tokenClass === "reasoning" ? generated[tokenClass] : undefined;
    return {
      countBasis: onlyOf(row.bases),
      outputBytes: isCorrected ? undefined : bytes,
      tokenizerDigest: onlyOf(row.digests) ?? undefined,
    };
  }

  #row(key: string): Growing {
    const known = this.#byRow.get(key);
    if (known !== undefined) return known;
    const row: Growing = {
      ...{ bases: new Set<string>(), digests: new Set<string | null>() },
      ...{ answerBytes: 0n, reasoningBytes: 0n, isCorrected: false },
    };
    this.#byRow.set(key, row);
    return row;
  }
}

function onlyOf<Value>(values: ReadonlySet<Value>): Value | undefined {
  const [only] = values;
  return values.size === 1 ? only : undefined;
}
