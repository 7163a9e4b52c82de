import type { InstantUs, Nano, PairId } from "../../units.ts";
import { canonicalJson } from "../canonical.ts";
import type { TimeZone } from "./period.ts";
import type { Statement, StatementTotals } from "./statement.ts";
import { readTotals, totalsMembers, type TotalsMembers } from "./statement-text.ts";

/** What there is to know of a closed period without its lines: the document `closing`, read at start. */
export interface Closing {
  readonly statement: string;
  readonly pair: PairId;
  readonly kind: "daily" | "monthly";
  /** `2026-11-21` or `2026-11`. */
  readonly name: string;
  readonly fromUs: InstantUs;
  readonly toUs: InstantUs;
  readonly timeZone: TimeZone;
  readonly digest: string;
  readonly prevDigest: string;
  /** When it was closed. */
  readonly atUs: InstantUs;
  readonly firstIndex: bigint;
  readonly endIndex: bigint;
  readonly isPayable: boolean;
  readonly totals: StatementTotals;
  /** Moved from accrued to stated with it. */
  readonly statedNano: Nano;
}

type Members = Readonly<
  Record<
    | "statement_id"
    | "pair_id"
    | "kind"
    | "name"
    | "from_us"
    | "to_us"
    | "tz"
    | "digest"
    | "at_us"
    | "first_index"
    | "end_index"
    | "stated_nano",
    string
  >
> & {
  readonly prev_statement_hash: string | null;
  readonly payable: boolean;
  readonly totals: TotalsMembers;
};

export function closingOf(
  statement: Statement & { readonly kind: Closing["kind"] },
  closed: Pick<Closing, "name" | "atUs" | "statedNano">,
): Closing {
  const { period, log } = statement;
  return {
    ...closed,
    ...period,
    statement: statement.id,
    pair: statement.pair,
    kind: statement.kind,
    digest: statement.digest,
    prevDigest: statement.prevDigest,
    firstIndex: log.firstIndex,
    endIndex: log.endIndex,
    isPayable: statement.isPayable,
    totals: statement.totals,
  };
}

export function closingText(closing: Closing): string {
  return canonicalJson({
    type: "closing",
    v: "1",
    statement_id: closing.statement,
    pair_id: closing.pair,
    kind: closing.kind,
    name: closing.name,
    from_us: closing.fromUs,
    to_us: closing.toUs,
    tz: closing.timeZone,
    digest: closing.digest,
    prev_statement_hash: closing.prevDigest === "" ? null : closing.prevDigest,
    at_us: closing.atUs,
    first_index: closing.firstIndex,
    end_index: closing.endIndex,
    payable: closing.isPayable,
    totals: totalsMembers(closing.totals),
    stated_nano: closing.statedNano,
  });
}

/** Only for texts that `closingText` wrote. */
export function readClosing(text: string): Closing {
  const members = JSON.parse(text) as Members;
  return {
    statement: members.statement_id,
    pair: members.pair_id as PairId,
    kind: members.kind as Closing["kind"],
    name: members.name,
    fromUs: BigInt(members.from_us),
    toUs: BigInt(members.to_us),
    timeZone: members.tz as TimeZone,
    digest: members.digest,
    prevDigest: members.prev_statement_hash ?? "",
    atUs: BigInt(members.at_us),
    firstIndex: BigInt(members.first_index),
    endIndex: BigInt(members.end_index),
    isPayable: members.payable,
    totals: readTotals(members.totals),
    statedNano: BigInt(members.stated_nano),
  };
}
