import {
  balanceText,
  noBalance,
  payableAccount,
  receivableAccount,
} from "../../core/settlement/ledger/ledger.ts";
import { canonicalJson } from "../../core/settlement/canonical.ts";
import {
  fromNettingText,
  netOf,
  nettingEntries,
  toNettingTexts,
  type Netting,
  type Obligation,
  type OpenItem,
} from "../../core/settlement/claims/netting.ts";
import { isBill } from "../../core/settlement/statements/statement-entries.ts";
import type { InstantUs, Nano, PairId, TenantId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import { sha256 } from "../../io/signing.ts";
import { toConnectError } from "../../wire/errors.ts";
import type { Change, Writer } from "../ingest/writer.ts";

/** What is to be set off. */
export interface NettingAsked {
  readonly id: string;
  readonly parties: readonly {
    readonly party: string;
    /** Undefined amount: all that is approved. */
    readonly items: readonly { readonly pair: PairId; readonly amountNano: Nano | undefined }[];
  }[];
  readonly obligations: readonly Obligation[];
}

interface Parts {
  readonly store: LedgerStore;
  readonly writer: Writer;
  nowUs(): InstantUs;
}

interface Done {
  readonly netting: Netting;
  readonly text: string;
}

/** Works out a netting and writes it: one transaction, whose id is the netting's. */
export class NettingRuns {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async preview(asked: NettingAsked): Promise<Netting> {
    return this.#work(this.#parts.store, asked, this.#parts.nowUs());
  }

  /** Resolves when it is durable. The same again changes nothing; something else under its id is refused. */
  async run(asked: NettingAsked): Promise<Done> {
    return this.#parts.writer.write(async (store) => {
      const before = await repeated(store, asked);
      if (before !== undefined) return { change: {}, result: before };
      const atUs = this.#parts.nowUs();
      const netting = await this.#work(store, asked, atUs);
      const { whole, byPair } = toNettingTexts(netting, sha256);
      const frame = { kind: "netting", atUs } as const;
      const own = [...byPair].map(([pair, body]) => ({
        ...frame,
        id: `${asked.id}/${pair}`,
        pair,
        body,
      }));
      const change: Change = {
        entries: nettingEntries(netting),
        documents: [
          { atUs, kind: "netting-request", id: asked.id, pair: "internal", body: askedText(asked) },
          { ...frame, id: asked.id, pair: "internal", body: whole },
          ...own,
        ],
        leaves: [
          { log: "internal", kind: "netting", ref: asked.id, text: whole },
          ...own.map(({ pair, body }) => ({
            log: pair,
            kind: "netting" as const,
            ref: asked.id,
            text: body,
          })),
        ],
      };
      return { change, result: { netting, text: whole } };
    });
  }

  async #work(store: LedgerStore, asked: NettingAsked, atUs: InstantUs): Promise<Netting> {
    const partyByPair = new Map<PairId, string>();
    const items: OpenItem[] = [];
    for (const { party, items: named } of asked.parties) {
      for (const { pair, amountNano } of named) {
        if (partyByPair.has(pair)) throw wrong("parties", `expected ${pair} once, found it twice`);
        partyByPair.set(pair, party);
        const open = await openNano(store, pair);
        if (amountNano === undefined && isBill(pair)) {
          throw wrong("amount_nano", `expected what is billed to ${pair}, found nothing`);
        }
        const amount = amountNano ?? open;
        if (amount > open)
          throw wrong("amount_nano", `expected at most ${open} of ${pair}, found ${amount}`);
        if (amount > 0n) items.push({ pair, party, amountNano: amount });
      }
    }
    for (const { id, from, to } of asked.obligations) checkObligation(id, [from, to], partyByPair);
    const partyOf = (pair: PairId): string => partyByPair.get(pair) ?? pair;
    return netOf(asked.id, { atUs, items, obligations: asked.obligations, partyOf });
  }
}

async function repeated(store: LedgerStore, asked: NettingAsked): Promise<Done | undefined> {
  const request = await store.document("netting-request", asked.id);
  if (request === undefined) return undefined;
  const made = await store.document("netting", asked.id);
  if (made !== undefined && request.body === askedText(asked)) {
    return { netting: fromNettingText(made.body), text: made.body };
  }
  throw toConnectError("CONFLICT", `netting_id: ${asked.id} was run for something else`, {
    metadata: { field: "netting_id" },
  });
}

function askedText({ id, parties, obligations }: NettingAsked): string {
  return canonicalJson({
    netting_id: id,
    parties: parties.map(({ party, items }) => ({
      party,
      items: items.map(({ pair, amountNano }) => ({ pair, nano: amountNano ?? null })),
    })),
    obligations: obligations.map((each) => ({
      obligation_id: each.id,
      from: each.from,
      to: each.to,
      nano: each.amountNano,
    })),
  });
}

function checkObligation(
  id: string,
  pairs: readonly [from: PairId, to: PairId],
  known: ReadonlyMap<PairId, string>,
): void {
  const [from, to] = pairs;
  if (from === to) throw wrong("obligations", `${id}: expected two parties, found ${from} twice`);
  for (const pair of pairs) {
    if (isBill(pair)) throw wrong("obligations", `${id}: what ${pair} owes is on its bill`);
    // Who is not named has not agreed.
    if (!known.has(pair)) throw wrong("obligations", `${id}: expected ${pair} among the parties`);
  }
}

/** Approved and not paid, or billed and not received. */
async function openNano(store: LedgerStore, pair: PairId): Promise<Nano> {
  const account = isBill(pair)
    ? receivableAccount(pair.slice("tenant:".length) as TenantId)
    : payableAccount(pair, "approved");
  const key = { unit: "CNY:nano", account } as const;
  const { debit, credit } = (await store.balancesOf([key])).get(balanceText(key)) ?? noBalance;
  const open = isBill(pair) ? debit - credit : credit - debit;
  return open > 0n ? open : 0n;
}

function wrong(field: string, detail: string) {
  return toConnectError("BAD_REQUEST", `${field}: ${detail}`, { metadata: { field } });
}
