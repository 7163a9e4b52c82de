import type { PairId, PoolId } from "../../units.ts";
import type { Sha256 } from "../canonical.ts";
import type { Charge, PostedRecord, StoredRecord } from "./posting.ts";
import type { Prepared, Side } from "./prepare.ts";
import type { Draw, Sale } from "../packages/sale.ts";
import type { SplitAmount } from "../packages/split.ts";
import type { Place } from "./tally-keys.ts";
import type { Tokens, UsageRecord } from "../counting/usage.ts";

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

/** The same of a sale, with what packages had given for it. */
export interface TakenBackSale extends TakenBack {
  readonly coveredNano: bigint;
  readonly draws: readonly Draw[];
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
  const { tokens } = posted;
  const members = objectText([
    ["amount_nano", integer(sumOf(posted.charges))],
    ["booking", quoted(side.place.booking)],
    ["charges", chargesText(posted.charges, side.place, scopeOf)],
    ["count_basis", quoted(posted.basis)],
    ["count_rule", quoted(settled.countRule)],
    ["currency", '"CNY"'],
    ["ending", quoted(posted.ending)],
    ["flags", JSON.stringify(posted.flags)],
    ["in_cache_read", integer(tokens.cacheRead)],
    ["in_cache_write", integer(tokens.cacheWrite)],
    ["in_uncached", integer(tokens.uncachedInput)],
    ["out_reasoning", integer(tokens.reasoning)],
    ["out_response", integer(tokens.response)],
    ["period", quoted(side.place.period)],
    ["prev_rev_hash", known(takenBack?.hash)],
    ["price_hash", known(settled.priceHash)],
    ["priv_commit", quoted(sha256(commitment.join("\n")))],
    ["record_hash", quoted(posted.hash)],
    ["request_ref", quoted(sha256(`${salt}\n${record.request}`))],
    ["slot", quoted(posted.slot)],
    ["taken_back", chargesText(takenBack?.charges ?? [], side.place, scopeOf)],
  ]);
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
  },
): RecordLeaf {
  const { charges, takenBack } = owed;
  const { tokens } = owed;
  const text = objectText([
    ["amount_nano", integer(sumOf(charges))],
    ["booking", quoted(side.place.booking)],
    ["charges", chargesText(charges, side.place, everywhere)],
    ["currency", '"CNY"'],
    ["in_cache_read", integer(tokens.cacheRead)],
    ["in_cache_write", integer(tokens.cacheWrite)],
    ["in_uncached", integer(tokens.uncachedInput)],
    ["model_id", quoted(record.model)],
    ["opened_us", integer(record.openedUs)],
    ["out_reasoning", integer(tokens.reasoning)],
    ["out_response", integer(tokens.response)],
    ["period", quoted(side.place.period)],
    ["prev_rev_hash", known(takenBack?.hash)],
    ["price_hash", known(owed.priceHash)],
    ["record_id", quoted(record.id)],
    ["slot", quoted(side.slot)],
    ["taken_back", chargesText(takenBack?.charges ?? [], side.place, everywhere)],
    ["type", '"fee"'],
    ["v", '"1"'],
  ]);
  return { log: side.place.pair, kind: "usage", ref: record.id, text };
}

/** What a tenant is asked to pay for a record, and what of its packages paid for it: without vendor, pool or cost. */
export function saleLeaf(
  { record, hash }: Prepared,
  sold: {
    readonly sale: Sale;
    readonly side: Pick<Side, "place" | "slot">;
    readonly priceHash: string | undefined;
    readonly takenBack: TakenBackSale | undefined;
  },
): RecordLeaf {
  const { sale, side, takenBack } = sold;
  const { tokens } = sale;
  const text = objectText([
    ["amount_nano", integer(sumOf(sale.charges))],
    ["attempt_id", quoted(record.attempt)],
    ["billed_nano", integer(sale.billedNano)],
    ["booking", quoted(side.place.booking)],
    ["charges", chargesText(sale.charges, side.place, everywhere)],
    ["covered_nano", integer(sale.coveredNano)],
    ["currency", '"CNY"'],
    ["department", quoted(record.department)],
    ["draws", `[${sale.draws.map(drawText).join(",")}]`],
    ["in_cache_read", integer(tokens.cacheRead)],
    ["in_cache_write", integer(tokens.cacheWrite)],
    ["in_uncached", integer(tokens.uncachedInput)],
    ["key_prefix", quoted(record.keyPrefix)],
    ["model_id", quoted(record.model)],
    ["opened_us", integer(record.openedUs)],
    ["out_reasoning", integer(tokens.reasoning)],
    ["out_response", integer(tokens.response)],
    ["period", quoted(side.place.period)],
    ["prev_rev_hash", known(takenBack?.hash)],
    ["price_hash", known(sold.priceHash)],
    ["project", quoted(record.project)],
    ["record_hash", quoted(hash)],
    ["record_id", quoted(record.id)],
    ["region_id", quoted(record.region)],
    ["request_id", quoted(record.request)],
    ["scenario", quoted(record.scenario)],
    ["slot", quoted(side.slot)],
    ["taken_back", chargesText(takenBack?.charges ?? [], side.place, everywhere)],
    ["taken_back_covered_nano", integer(takenBack?.coveredNano ?? 0n)],
    ["taken_back_draws", `[${(takenBack?.draws ?? []).map(drawText).join(",")}]`],
    ["tenant_id", quoted(record.tenant)],
    ["type", '"sale"'],
    ["v", '"1"'],
  ]);
  return { log: side.place.pair, kind: "sale", ref: record.id, text };
}

/** What a party to the split is owed of a sale; below 0 where an earlier revision's share is taken back. */
export function shareLeaf(
  record: UsageRecord,
  share: SplitAmount & { readonly party: PairId },
  by: { readonly rule: string; readonly booking: string; readonly takenBackNano: bigint },
): RecordLeaf {
  const text = objectText([
    ["amount_nano", integer(share.amountNano)],
    ["booking", quoted(by.booking)],
    ["currency", '"CNY"'],
    ["model_id", quoted(record.model)],
    ["opened_us", integer(record.openedUs)],
    ["part", quoted(share.part)],
    ["record_id", quoted(record.id)],
    ["split_rule", quoted(by.rule)],
    ["taken_back_nano", integer(by.takenBackNano)],
    ["type", '"share"'],
    ["v", '"1"'],
  ]);
  return { log: share.party, kind: "sale", ref: `${record.id}:${share.part}`, text };
}

/** Where the tokens of a line cumulate, at a pool. */
export type ScopeOf = (line: string, pool: PoolId) => string;

/** To whom pools are not shown. */
const everywhere: ScopeOf = () => "*";

/**
 * RFC 8785 of an object whose members are given in the order of their names, with their values as text: a leaf is written
 * for every record, and to sort and to look at values again would cost more than all the rest of it.
 */
function objectText(members: readonly (readonly [name: string, value: string])[]): string {
  let text = "{";
  for (const [name, value] of members) text += `${text === "{" ? "" : ","}"${name}":${value}`;
  return `${text}}`;
}

function quoted(text: string): string {
  return JSON.stringify(text);
}

function integer(value: bigint): string {
  return `"${value}"`;
}

function known(text: string | undefined): string {
  return text === undefined ? "null" : quoted(text);
}

function sumOf(charges: readonly Charge[]): bigint {
  return charges.reduce((sum, { amountNano }) => sum + amountNano, 0n);
}

function chargesText(charges: readonly Charge[], { pool }: Place, scopeOf: ScopeOf): string {
  const sorted = charges.toSorted((a, b) => (a.line < b.line ? -1 : 1));
  return `[${sorted.map((charge) => chargeText(charge, scopeOf(charge.line, pool))).join(",")}]`;
}

function chargeText({ line, tokens, pico, amountNano }: Charge, scope: string): string {
  const head = `{"line_id":${quoted(line)},"nano":"${amountNano}","pico":"${pico}"`;
  return `${head},"scope":${quoted(scope)},"tokens":"${tokens}"}`;
}

function drawText({ amount, department, package: id, releasedNano, unit }: Draw): string {
  return objectText([
    ["amount", integer(amount)],
    ["department", quoted(department)],
    ["package_id", quoted(id)],
    ["released_nano", integer(releasedNano)],
    ["unit", quoted(unit)],
  ]);
}

/** What an earlier revision was owed, as the leaf of the next one takes it back. */
export function takenBackOf(old: StoredRecord | undefined): TakenBack | undefined {
  return old && { hash: old.hash, charges: old.charges };
}
