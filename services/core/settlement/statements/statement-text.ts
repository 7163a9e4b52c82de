import type { BookId, GatewayId, ModelId, PairId, PoolId, RegionId } from "../../units.ts";
import { canonicalJson, type Canonical, type Sha256 } from "../canonical.ts";
import type { TimeZone } from "./period.ts";
import {
  reconKinds,
  type FeePart,
  type Frozen,
  type ReconCounts,
  type Statement,
  type StatementKind,
  type StatementLine,
  type StatementTotals,
} from "./statement.ts";
import { noTokens, tokenClasses, tokenClassNames, type TokenClass } from "../counting/usage.ts";

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
> & { readonly usage_period: string | null };

export type TotalsMembers = Words<
  | "gross_nano"
  | "credits_nano"
  | "adjustments_nano"
  | "true_up_nano"
  | "disputed_nano"
  | "net_nano"
  | "rounding_nano"
  | "quarantined"
> & {
  readonly attempts: string | null;
  readonly minor_units: string | null;
  readonly tokens_by_class: Words<string>;
};

type StatementMembers = Words<
  "statement_id" | "pair_id" | "kind" | "rev" | "contract_hash" | "currency"
> & {
  readonly period: Words<"from_us" | "to_us" | "tz">;
  readonly prev_statement_hash: string | null;
  readonly payable: boolean;
  readonly log: Words<"origin" | "size" | "root" | "first_index" | "end_index">;
  readonly price_versions: readonly (Words<"book_id" | "version"> & {
    readonly hash: string | null;
  })[];
  readonly calendars: readonly Words<"calendar_id" | "version" | "hash">[];
  readonly lines: readonly LineMembers[];
  readonly fees: readonly (Words<"part" | "party" | "nano"> & { readonly sku?: string })[];
  readonly true_ups: readonly Words<"line_id" | "scope" | "period" | "nano">[];
  readonly days: readonly Words<"statement_id" | "hash">[];
  readonly totals: TotalsMembers;
  readonly seal: string | null;
  readonly producers: readonly Words<"gateway_id" | "epoch" | "first_seq" | "end_seq">[];
  readonly gaps: readonly Words<"gateway_id" | "epoch" | "lost">[];
  readonly recon: Words<(typeof reconKinds)[number]> | null;
};

/** A token class, or `request`, as texts write it. */
export function classWord(tokenClass: StatementLine["tokenClass"]): string {
  return tokenClass === "request" ? tokenClass : tokenClassNames[tokenClass];
}

/** The bytes that are hashed and signed. */
export function toStatementText(statement: Omit<Statement, "text" | "digest">): string {
  const { period, frozen, log, lines } = statement;
  const { seal, contractHash, calendars, producers, gaps, recon } = frozen;
  return canonicalJson({
    type: "statement",
    v: "1",
    statement_id: statement.id,
    pair_id: statement.pair,
    kind: statement.kind,
    period: { from_us: period.fromUs, to_us: period.toUs, tz: period.timeZone },
    rev: String(statement.rev),
    prev_statement_hash: statement.prevDigest === "" ? null : statement.prevDigest,
    payable: statement.isPayable,
    log: {
      origin: log.origin,
      size: log.size,
      root: log.root,
      first_index: log.firstIndex,
      end_index: log.endIndex,
    },
    contract_hash: contractHash,
    price_versions: statement.versions.map(({ book, version, hash = null }) => {
      return { book_id: book, version, hash };
    }),
    calendars: calendars.map(({ id, version, hash }) => ({ calendar_id: id, version, hash })),
    lines: lines.map(lineMembers),
    fees: statement.fees.map(({ part, party, sku, amountNano }) => ({
      ...{ part, party, nano: amountNano },
      ...(sku === undefined ? {} : { sku }),
    })),
    true_ups: statement.trueUps.map(({ line, scope, period: of, amountNano }) => {
      return { line_id: line, scope, period: of, nano: amountNano };
    }),
    days: statement.days.map(({ id, digest }) => ({ statement_id: id, hash: digest })),
    currency: statement.currency,
    totals: totalsMembers(statement.totals),
    seal: seal ?? null,
    zero_usage: lines.length === 0 && statement.fees.length === 0,
    producers: producers.map(({ gateway, epoch, firstSeq, endSeq }) => {
      return { gateway_id: gateway, epoch, first_seq: firstSeq, end_seq: endSeq };
    }),
    gaps: gaps.map(({ gateway, epoch, lost }) => ({ gateway_id: gateway, epoch, lost })),
    recon: recon ?? null,
  });
}

export function totalsMembers(totals: StatementTotals): Canonical {
  return {
    attempts: totals.attempts ?? null,
    tokens_by_class: Object.fromEntries(
      tokenClasses.map((each) => [tokenClassNames[each], totals.tokens[each]]),
    ),
    gross_nano: totals.grossNano,
    credits_nano: totals.creditsNano,
    adjustments_nano: totals.adjustmentsNano,
    true_up_nano: totals.trueUpNano,
    disputed_nano: totals.disputedNano,
    net_nano: totals.netNano,
    minor_units: totals.minorUnits ?? null,
    rounding_nano: totals.roundingNano,
    quarantined: totals.quarantined,
  };
}

function lineMembers(line: StatementLine): Canonical {
  return {
    book_id: line.book,
    version: line.version,
    line_id: line.line,
    scope: line.pool,
    region_id: line.region,
    model_id: line.model,
    token_class: classWord(line.tokenClass),
    slot: line.slot,
    usage_period: line.usagePeriod ?? null,
    attempts: line.attempts,
    tokens: line.tokens,
    pico: line.pico,
    nano: line.amountNano,
  };
}

/** The statement again; only for texts that `toStatementText` wrote. */
export function fromStatementText(text: string, sha256: Sha256): Statement {
  const members = JSON.parse(text) as StatementMembers;
  const frozen = toFrozen(members);
  return {
    id: members.statement_id,
    pair: members.pair_id as PairId,
    kind: members.kind as StatementKind,
    period: {
      fromUs: BigInt(members.period.from_us),
      toUs: BigInt(members.period.to_us),
      timeZone: members.period.tz as TimeZone,
    },
    rev: Number(members.rev),
    currency: "CNY",
    isPayable: members.payable,
    lines: members.lines.map(toLine),
    fees: members.fees.map(({ part, party, sku, nano }) => {
      const of = { part: part as FeePart, party: party as PairId };
      return { ...of, sku, amountNano: BigInt(nano) };
    }),
    trueUps: members.true_ups.map(({ line_id: line, scope, period, nano }) => {
      return { line, scope, period, amountNano: BigInt(nano) };
    }),
    days: members.days.map(({ statement_id: id, hash: digest }) => ({ id, digest })),
    versions: members.price_versions.map(({ book_id: book, version, hash }) => {
      return { book: book as BookId, version: BigInt(version), hash: hash ?? undefined };
    }),
    frozen,
    log: frozen.log,
    totals: readTotals(members.totals),
    text,
    digest: sha256(text),
    prevDigest: members.prev_statement_hash ?? "",
  };
}

function toFrozen(members: StatementMembers): Frozen {
  const { log, calendars, producers, gaps, recon, totals } = members;
  return {
    log: {
      origin: log.origin,
      size: BigInt(log.size),
      root: log.root,
      firstIndex: BigInt(log.first_index),
      endIndex: BigInt(log.end_index),
    },
    contractHash: members.contract_hash,
    calendars: calendars.map(({ calendar_id: id, version, hash }) => {
      return { id, version: BigInt(version), hash };
    }),
    producers: producers.map((each) => ({
      gateway: each.gateway_id as GatewayId,
      epoch: BigInt(each.epoch),
      firstSeq: BigInt(each.first_seq),
      endSeq: BigInt(each.end_seq),
    })),
    gaps: gaps.map(({ gateway_id, epoch, lost }) => {
      return { gateway: gateway_id as GatewayId, epoch: BigInt(epoch), lost: BigInt(lost) };
    }),
    recon: recon === null ? undefined : toRecon(recon),
    seal: members.seal ?? undefined,
    disputedNano: BigInt(totals.disputed_nano),
    quarantined: BigInt(totals.quarantined),
  };
}

function toRecon(members: Words<(typeof reconKinds)[number]>): ReconCounts {
  const counts = reconKinds.map((kind) => [kind, BigInt(members[kind])] as const);
  return Object.fromEntries(counts) as ReconCounts;
}

function toLine(members: LineMembers): StatementLine {
  return {
    line: members.line_id,
    pool: members.scope as PoolId,
    region: members.region_id as RegionId,
    model: members.model_id as ModelId,
    tokenClass: classOf(members.token_class),
    slot: members.slot,
    book: members.book_id as BookId,
    version: BigInt(members.version),
    usagePeriod: members.usage_period ?? undefined,
    attempts: BigInt(members.attempts),
    tokens: BigInt(members.tokens),
    pico: BigInt(members.pico),
    amountNano: BigInt(members.nano),
  };
}

export function classOf(word: string): StatementLine["tokenClass"] {
  return tokenClasses.find((each) => tokenClassNames[each] === word) ?? "request";
}

export function readTotals(members: TotalsMembers): StatementTotals {
  const tokens: Record<TokenClass, bigint> = { ...noTokens };
  for (const each of tokenClasses) {
    tokens[each] = BigInt(members.tokens_by_class[tokenClassNames[each]] ?? "0");
  }
  return {
    attempts: members.attempts === null ? undefined : BigInt(members.attempts),
    tokens,
    grossNano: BigInt(members.gross_nano),
    creditsNano: BigInt(members.credits_nano),
    adjustmentsNano: BigInt(members.adjustments_nano),
    trueUpNano: BigInt(members.true_up_nano),
    disputedNano: BigInt(members.disputed_nano),
    netNano: BigInt(members.net_nano),
    minorUnits: members.minor_units === null ? undefined : BigInt(members.minor_units),
    roundingNano: BigInt(members.rounding_nano),
    quarantined: BigInt(members.quarantined),
  };
}
