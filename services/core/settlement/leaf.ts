import type { PairId, PoolId } from "../units.ts";
import { canonicalJson, type Canonical, type Sha256 } from "./canonical.ts";
import type { Charge, PostedRecord, StoredRecord } from "./posting.ts";
import type { Prepared, Side } from "./prepare.ts";
import type { Sale } from "./sale.ts";
import type { SplitAmount } from "./split.ts";
import type { Place } from "./tally.ts";
import { tokenClasses, type TokenClass, type Tokens, type UsageRecord } from "./usage.ts";

/** A leaf of the log of a pair, before it has a place there. */
export interface RecordLeaf {
  readonly log: PairId;
  readonly kind: "usage" | "sale";
  readonly ref: string;
  /** Canonical: the bytes that are hashed. */
  readonly text: string;
}

/** What only the operator knows; opened in a dispute, for one record. */
export type SaltOf = (record: string) => string;

export interface LeafSecrets {
  readonly sha256: Sha256;
  readonly saltOf: SaltOf;
}

/** What a revision took back of the one before it. */
export interface TakenBack {
  readonly hash: string;
  readonly charges: readonly Charge[];
}

/**
 * Of a record's text, what one counterparty is not shown: who its tenant is, where the demand arose and what for. Each is
 * a string, and none is the first member; quotes within strings are escaped, so that no value looks like a name.
 */
const privateMembers =
  /,"(?:department|key_prefix|origin_id|project|request_id|scenario|service_class|tenant_id|type|v)":"(?:[^"\\]|\\.)*"/g;

/** What the vendor is shown of an attempt, and owed for it. Its charges by booking add up to a statement's lines. */
export function usageLeaf(
  prepared: Prepared,
  settled: {
    readonly posted: PostedRecord;
    readonly side: Side;
    readonly priceHash: string | undefined;
    readonly countRule: string;
    readonly scopeOf: ScopeOf;
    readonly takenBack: TakenBack | undefined;
    readonly saleNano: bigint | undefined;
  },
  { sha256, saltOf }: LeafSecrets,
): RecordLeaf {
  const { record, text } = prepared;
  const { posted, side, takenBack, scopeOf } = settled;
  const salt = saltOf(record.id);
  const commitment = [salt, record.tenant, record.department, String(settled.saleNano ?? "")];
  const members = canonicalJson({
    ...chargeMembers(side.place, posted.charges, scopeOf),
    count_basis: posted.basis,
    count_rule: settled.countRule,
    ending: posted.ending,
    flags: posted.flags,
    ...tokenMembers(posted.tokens),
    prev_rev_hash: takenBack?.hash ?? null,
    price_hash: settled.priceHash ?? null,
    priv_commit: sha256(commitment.join("\n")),
    record_hash: posted.hash,
    request_ref: sha256(`${salt}\n${record.request}`),
    slot: posted.slot,
    taken_back: chargesText(takenBack?.charges ?? [], side.place, scopeOf),
  });
  const witness = text.replaceAll(privateMembers, "");
  return {
    log: side.place.pair,
    kind: "usage",
    ref: record.id,
    text: `{"settled":${members},"type":"usage","v":"1","witness":${witness}}`,
  };
}

/** What the owner of a model is owed for a record by its licence book: without tenant, vendor or pool. */
export function feeLeaf(
  { record }: Prepared,
  side: Side,
  owed: {
    readonly tokens: Tokens;
    readonly charges: readonly Charge[];
    readonly priceHash: string | undefined;
    readonly takenBack: TakenBack | undefined;
    readonly scopeOf: ScopeOf;
  },
): RecordLeaf {
  const { charges, takenBack, scopeOf } = owed;
  const text = canonicalJson({
    type: "fee",
    v: "1",
    ...headMembers(record),
    ...chargeMembers(side.place, charges, () => "*"),
    ...tokenMembers(owed.tokens),
    prev_rev_hash: takenBack?.hash ?? null,
    price_hash: owed.priceHash ?? null,
    slot: side.slot,
    taken_back: chargesText(takenBack?.charges ?? [], side.place, scopeOf),
  });
  return { log: side.place.pair, kind: "usage", ref: record.id, text };
}

/** What a tenant is asked to pay for a record, and what of its packages paid for it: without vendor, pool or cost. */
export function saleLeaf(
  { record, hash }: Prepared,
  sold: {
    readonly sale: Sale;
    readonly side: Pick<Side, "place" | "slot">;
    readonly priceHash: string | undefined;
    readonly takenBack: (TakenBack & { readonly coveredNano: bigint }) | undefined;
  },
): RecordLeaf {
  const { sale, side, takenBack } = sold;
  const text = canonicalJson({
    type: "sale",
    v: "1",
    ...headMembers(record),
    attempt_id: record.attempt,
    department: record.department,
    key_prefix: record.keyPrefix,
    project: record.project,
    region_id: record.region,
    request_id: record.request,
    scenario: record.scenario,
    tenant_id: record.tenant,
    ...chargeMembers(side.place, sale.charges, () => "*"),
    ...tokenMembers(sale.tokens),
    billed_nano: sale.billedNano,
    covered_nano: sale.coveredNano,
    draws: sale.draws.map((draw) => ({
      amount: draw.amount,
      department: draw.department,
      package_id: draw.package,
      released_nano: draw.releasedNano,
      unit: draw.unit,
    })),
    prev_rev_hash: takenBack?.hash ?? null,
    price_hash: sold.priceHash ?? null,
    record_hash: hash,
    slot: side.slot,
    taken_back: chargesText(takenBack?.charges ?? [], side.place, () => "*"),
    taken_back_covered_nano: takenBack?.coveredNano ?? 0n,
  });
  return { log: side.place.pair, kind: "sale", ref: record.id, text };
}

/** What a party to the split is owed of a sale; below 0 where an earlier revision's share is taken back. */
export function shareLeaf(
  record: UsageRecord,
  share: SplitAmount & { readonly party: PairId },
  by: { readonly rule: string; readonly booking: string; readonly takenBackNano: bigint },
): RecordLeaf {
  const text = canonicalJson({
    type: "share",
    v: "1",
    ...headMembers(record),
    amount_nano: share.amountNano,
    booking: by.booking,
    currency: "CNY",
    part: share.part,
    split_rule: by.rule,
    taken_back_nano: by.takenBackNano,
  });
  return { log: share.party, kind: "sale", ref: `${record.id}:${share.part}`, text };
}

/** Where the tokens of a line cumulate, at a pool. */
export type ScopeOf = (line: string, pool: PoolId) => string;

function headMembers({ id, model, openedUs }: UsageRecord) {
  return { model_id: model, opened_us: openedUs, record_id: id };
}

function chargeMembers(place: Place, charges: readonly Charge[], scopeOf: ScopeOf) {
  return {
    amount_nano: charges.reduce((sum, { amountNano }) => sum + amountNano, 0n),
    booking: place.booking,
    charges: chargesText(charges, place, scopeOf),
    currency: "CNY",
    period: place.period,
  };
}

function chargesText(charges: readonly Charge[], { pool }: Place, scopeOf: ScopeOf): Canonical[] {
  return charges
    .toSorted((a, b) => (a.line < b.line ? -1 : 1))
    .map(({ line, tokens, pico, amountNano }) => {
      return { line_id: line, nano: amountNano, pico, scope: scopeOf(line, pool), tokens };
    });
}

const tokenMemberNames: Readonly<Record<TokenClass, string>> = {
  uncachedInput: "in_uncached",
  cacheRead: "in_cache_read",
  cacheWrite: "in_cache_write",
  response: "out_response",
  reasoning: "out_reasoning",
};

function tokenMembers(tokens: Tokens): Readonly<Record<string, bigint>> {
  return Object.fromEntries(tokenClasses.map((each) => [tokenMemberNames[each], tokens[each]]));
}

/** What an earlier revision was owed, as the leaf of the next one takes it back. */
export function takenBackOf(old: StoredRecord | undefined): TakenBack | undefined {
  return old && { hash: old.hash, charges: old.charges };
}
