import type { AttemptId, ModelId, PackageId, PairId, RequestId, TenantId } from "../../units.ts";
import type { AccountId, Unit } from "./ledger.ts";
import type { Charge } from "./posting.ts";
import type { Draw, Sale } from "../packages/sale.ts";
import type { SplitAmount, SplitPartName } from "../packages/split.ts";
import { tokenClasses, type Tokens } from "../counting/usage.ts";

/** A sale that was billed, with what is needed to take it back exactly. */
export interface BilledSale {
  readonly sale: Sale;
  /** Of the keys on which its tokens cumulate. */
  readonly period: string;
  readonly slot: string;
  /** Of the record, so that what follows can name it. */
  readonly hash: string;
}

/** Lists of strings in the order that the reader knows: a sale is written for nearly every record. */
type Form = readonly [
  v: "1",
  head: readonly string[],
  tokens: readonly string[],
  charges: readonly (readonly string[])[],
  nano: readonly string[],
  draws: readonly (readonly [readonly string[], readonly (readonly string[])[]])[],
  parts: readonly (readonly string[])[],
];

export function toSaleText({ sale, period, slot, hash }: BilledSale): string {
  const { saleNano, coveredNano, billedNano, earnedNano } = sale;
  const form: Form = [
    "1",
    [
      ...[sale.record, sale.attempt, `${sale.rev}`, sale.request, sale.tenant, sale.model],
      ...[sale.splitRule, period, slot, hash],
    ],
    tokenClasses.map((each) => `${sale.tokens[each]}`),
    sale.charges.map(({ line, tokens, pico, amountNano }) => [
      line,
      `${tokens}`,
      `${pico}`,
      `${amountNano}`,
    ]),
    [saleNano, coveredNano, billedNano, earnedNano].map(String),
    sale.draws.map((draw) => [
      [
        ...[draw.package, draw.unit, draw.department, draw.usedBy, `${draw.need}`],
        ...[`${draw.amount}`, `${draw.goneBefore}`, `${draw.releasedNano}`],
      ],
      draw.held.map(({ hold, credit, amount }) => [hold, credit, `${amount}`]),
    ]),
    sale.parts.map(({ part, party, way, amountNano }) => [part, party, way, `${amountNano}`]),
  ];
  return JSON.stringify(form);
}

/** Only for texts that `toSaleText` wrote. */
export function fromSaleText(text: string): BilledSale {
  const [, head, tokens, charges, nano, draws, parts] = JSON.parse(text) as Form;
  const [record, attempt, rev, request, tenant, model, splitRule, period, slot, hash] = head;
  const counts = tokenClasses.map((each, index) => [each, BigInt(tokens[index] ?? "")] as const);
  const [saleNano, coveredNano, billedNano, earnedNano] = nano;
  const sale: Sale = {
    record: record ?? "",
    attempt: (attempt ?? "") as AttemptId,
    rev: BigInt(rev ?? ""),
    request: (request ?? "") as RequestId,
    tenant: (tenant ?? "") as TenantId,
    model: (model ?? "") as ModelId,
    tokens: Object.fromEntries(counts) as Tokens,
    charges: charges.map(toCharge),
    saleNano: BigInt(saleNano ?? ""),
    coveredNano: BigInt(coveredNano ?? ""),
    billedNano: BigInt(billedNano ?? ""),
    draws: draws.map(([draw, held]) => toDraw(draw, held)),
    earnedNano: BigInt(earnedNano ?? ""),
    splitRule: splitRule ?? "",
    parts: parts.map(toPart),
  };
  return { sale, period: period ?? "", slot: slot ?? "", hash: hash ?? "" };
}

function toCharge([line = "", tokens = "", pico = "", nano = ""]: readonly string[]): Charge {
  return { line, tokens: BigInt(tokens), pico: BigInt(pico), amountNano: BigInt(nano) };
}

function toDraw(draw: readonly string[], held: readonly (readonly string[])[]): Draw {
  const [id = "", unit = "", department = "", usedBy = "", need = "", ...rest] = draw;
  const [amount = "", goneBefore = "", releasedNano = ""] = rest;
  return {
    package: id as PackageId,
    unit: unit as Unit,
    department,
    usedBy,
    need: BigInt(need),
    amount: BigInt(amount),
    goneBefore: BigInt(goneBefore),
    releasedNano: BigInt(releasedNano),
    held: held.map(([hold = "", credit = "", most = ""]) => {
      return { hold, credit: credit as AccountId, amount: BigInt(most) };
    }),
  };
}

function toPart([part = "", party = "", way = "", nano = ""]: readonly string[]): SplitAmount {
  return {
    part: part as SplitPartName,
    party: party as PairId,
    way: way as SplitAmount["way"],
    amountNano: BigInt(nano),
  };
}
