import type { BookId, ModelId, PoolId, RegionId, VendorId } from "../units.ts";
import type { Sha256 } from "./canonical.ts";
import type { PeriodKind, TimeZone } from "./period.ts";
import type { Statement, StatementLine, StatementTotals } from "./statement.ts";
import { noTokens, tokenClasses, tokenClassNames, type TokenClass } from "./usage.ts";

type Words<Name extends string> = Readonly<Record<Name, string>>;

type LineMembers = Words<
  | "book_id"
  | "version"
  | "line_id"
  | "scope"
  | "region_id"
  | "model_id"
  | "token_class"
  | "slot"
  | "attempts"
  | "tokens"
  | "pico"
  | "nano"
>;

type StatementMembers = Words<"statement_id" | "pair_id" | "kind" | "rev"> & {
  readonly period: Words<"from_us" | "to_us" | "tz">;
  readonly prev_statement_hash: string | null;
  readonly lines: readonly LineMembers[];
  readonly totals: Words<
    "attempts" | "net_nano" | "minor_units" | "rounding_nano" | "quarantined"
  > & { readonly tokens_by_class: Words<string> };
};

/** The statement again; only for texts that `closeStatement` wrote. */
export function fromStatementText(text: string, sha256: Sha256): Statement {
  const members = JSON.parse(text) as StatementMembers;
  return {
    id: members.statement_id,
    vendor: members.pair_id as VendorId,
    kind: members.kind as PeriodKind,
    period: {
      fromUs: BigInt(members.period.from_us),
      toUs: BigInt(members.period.to_us),
      timeZone: members.period.tz as TimeZone,
    },
    rev: Number(members.rev),
    currency: "CNY",
    lines: members.lines.map(toLine),
    totals: toTotals(members),
    text,
    digest: sha256(text),
    prevDigest: members.prev_statement_hash ?? "",
  };
}

function toLine(members: LineMembers): StatementLine {
  return {
    line: members.line_id,
    pool: members.scope as PoolId,
    region: members.region_id as RegionId,
    model: members.model_id as ModelId,
    tokenClass: tokenClasses.find(isNamed(members.token_class)) ?? "uncachedInput",
    slot: members.slot,
    book: members.book_id as BookId,
    version: BigInt(members.version),
    attempts: BigInt(members.attempts),
    tokens: BigInt(members.tokens),
    pico: BigInt(members.pico),
    amountNano: BigInt(members.nano),
  };
}

function toTotals({ totals }: StatementMembers): StatementTotals {
  const tokens: Record<TokenClass, bigint> = { ...noTokens };
  for (const each of tokenClasses) {
    tokens[each] = BigInt(totals.tokens_by_class[tokenClassNames[each]] ?? "0");
  }
  return {
    attempts: BigInt(totals.attempts),
    tokens,
    netNano: BigInt(totals.net_nano),
    minorUnits: BigInt(totals.minor_units),
    roundingNano: BigInt(totals.rounding_nano),
    quarantined: BigInt(totals.quarantined),
  };
}

function isNamed(name: string): (tokenClass: TokenClass) => boolean {
  return (tokenClass) => tokenClassNames[tokenClass] === name;
}
