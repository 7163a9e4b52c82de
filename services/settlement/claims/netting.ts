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
  nettingJwsType,
  toNettingTexts,
  type Netting,
  type Obligation,
  type OpenItem,
} from "../../core/settlement/claims/netting.ts";
import { isBill } from "../../core/settlement/statements/statement-entries.ts";
import type { InstantUs, Nano, PairId, TenantId } from "../../core/units.ts";
import { verifyDetached } from "../../core/settlement/proof/jws.ts";
import type { LedgerDocument, LedgerStore } from "../../io/ledger-store.ts";
import { sha256, verify } from "../../io/signing.ts";
import { toConnectError } from "../../wire/errors.ts";
import type { Change, Writer } from "../ingest/writer.ts";
import { unpaidStatements } from "../statements/statement-steps.ts";
import type { KeyOf } from "./claims.ts";
import { refuseOverdrawn } from "./set-off.ts";

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

/** What each pair whose money moves has signed: its own text of the netting. */
export interface Consents {
  /** The instant that the texts name. */
  readonly atUs: InstantUs;
  readonly jwsByPair: ReadonlyMap<PairId, string>;
}

interface Parts {
  readonly store: LedgerStore;
  readonly writer: Writer;
  readonly keyOf: KeyOf;
  /** Of a pair, decided disputes that are not paid. */
  unpaidOf(pair: PairId): readonly Unpaid[];
  nowUs(): InstantUs;
}

/** What a netting may take, and whose it is. */
interface Unpaid {
  readonly id: string;
  readonly amountNano: Nano;
}

/** Between what is shown to be signed and what is run. */
const consentUs = 7n * 86_400_000_000n;

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

  /** What would be set off, and the text that each pair has to sign for it. */
  async preview(
    asked: NettingAsked,
  ): Promise<{ readonly netting: Netting; readonly texts: ReadonlyMap<PairId, string> }> {
    const netting = await this.#work(this.#parts.store, asked, this.#parts.nowUs());
    return { netting, texts: toNettingTexts(netting, sha256).byPair };
  }

  /** Resolves when it is durable. The same again changes nothing; something else under its id is refused. */
  async run(asked: NettingAsked, consents: Consents): Promise<Done> {
    return this.#parts.writer.write(async (store) => {
      const before = await repeated(store, asked);
      if (before !== undefined) return { change: {}, result: before };
      const { atUs } = consents;
      const netting = await this.#work(store, asked, atUs);
      const { whole, byPair } = toNettingTexts(netting, sha256);
      this.#requireConsents(byPair, consents);
      const frame = { kind: "netting", atUs } as const;
      const own = [...byPair].map(([pair, body]) => ({
        ...frame,
        id: `${asked.id}/${pair}`,
        pair,
        body,
      }));
      const entries = nettingEntries(netting);
      await refuseOverdrawn(store, entries);
      const change: Change = {
        entries,
        documents: [
          { atUs, kind: "netting-request", id: asked.id, pair: "internal", body: askedText(asked) },
          { ...frame, id: asked.id, pair: "internal", body: whole },
          ...own,
          ...(await this.#settled(store, netting)),
          ...[...consents.jwsByPair].map(([pair, jws]) => ({
            ...{ kind: "netting-consent", id: `${asked.id}/${pair}`, pair, atUs, body: jws },
          })),
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

  /** The operator alone nets nobody. */
  #requireConsents(byPair: ReadonlyMap<PairId, string>, { atUs, jwsByPair }: Consents): void {
    const nowUs = this.#parts.nowUs();
    if (atUs > nowUs || atUs < nowUs - consentUs) {
      throw wrong("at_us", `expected ${nowUs - consentUs} to ${nowUs}, found ${atUs}`);
    }
    for (const [pair, payload] of byPair) {
      const jws = jwsByPair.get(pair);
      if (jws === undefined) {
        throw wrong("consents", `expected a signature of ${pair} over its text, found none`);
      }
      const keyOf = (kid: string) => this.#parts.keyOf(pair, kid);
      const header = verifyDetached({ jws, payload, typ: nettingJwsType, keyOf }, verify);
      if (typeof header === "string") throw wrong("consents", `signature of ${pair}: ${header}`);
    }
    const stranger = [...jwsByPair.keys()].find((pair) => !byPair.has(pair));
    if (stranger !== undefined) throw wrong("consents", `nothing of ${stranger} is set off`);
  }

  /** How much of which statement and dispute was set off: so much less is paid. */
  async #settled(store: LedgerStore, netting: Netting): Promise<NewDocument[]> {
    const { id: run, atUs, setOffs, obligations } = netting;
    const documents: NewDocument[] = [];
    for (const pair of new Set(setOffs.flatMap((each) => [each.payable, each.receivable]))) {
      const owes = setOffs.filter(({ receivable }) => receivable === pair);
      const owed = setOffs.filter(({ payable }) => payable === pair);
      // What others owe it through the operator is no statement's, and goes first.
      const lentNano =
        (await this.#lentNano(store, pair)) + sum(obligations.filter(({ to }) => to === pair));
      let leftNano = isBill(pair) ? sum(owes) : positive(sum(owed) - lentNano);
      for (const { id, amountNano } of await this.#unpaid(store, pair)) {
        const takenNano = leftNano < amountNano ? leftNano : amountNano;
        if (takenNano === 0n) continue;
        leftNano -= takenNano;
        const isStatement = id.startsWith(`${pair}:`);
        const kind = isStatement ? "statement-netting" : "dispute-netting";
        const body = settledText(kind, { id, takenNano, run });
        const key = isStatement ? `${id}:${run}` : `${id}/${run}`;
        documents.push({ kind, id: key, pair, atUs, body });
      }
      if (leftNano > 0n) throw wrong("amount_nano", `${leftNano} of ${pair} is of no statement`);
    }
    return documents;
  }

  /** Statements and disputes of which something is to be paid, above 0. */
  async #unpaid(store: LedgerStore, pair: PairId): Promise<Unpaid[]> {
    const all = [...(await unpaidStatements(store, pair)), ...this.#parts.unpaidOf(pair)];
    return all.filter(({ amountNano }) => amountNano > 0n);
  }

  /** Approved by earlier obligations and by no statement or dispute. */
  async #lentNano(store: LedgerStore, pair: PairId): Promise<Nano> {
    if (isBill(pair)) return 0n;
    const owned = [...(await unpaidStatements(store, pair)), ...this.#parts.unpaidOf(pair)];
    return positive((await openNano(store, pair)) - sum(owned));
  }

  /** What of a pair may be set off: nothing that is not approved, nor more than the account has. */
  async #openNano(store: LedgerStore, pair: PairId): Promise<Nano> {
    const onAccount = await openNano(store, pair);
    if (!isBill(pair)) return onAccount;
    const billed = sum(await this.#unpaid(store, pair));
    return billed < onAccount ? billed : onAccount;
  }

  async #work(store: LedgerStore, asked: NettingAsked, atUs: InstantUs): Promise<Netting> {
    const partyByPair = new Map<PairId, string>();
    const items: OpenItem[] = [];
    for (const { party, items: named } of asked.parties) {
      for (const { pair, amountNano } of named) {
        if (partyByPair.has(pair)) throw wrong("parties", `expected ${pair} once, found it twice`);
        partyByPair.set(pair, party);
        const open = await this.#openNano(store, pair);
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

type NewDocument = Omit<LedgerDocument, "seq" | "hash">;

function settledText(
  type: string,
  { id, takenNano, run }: { readonly id: string; readonly takenNano: Nano; readonly run: string },
): string {
  const frame = { type, v: "1", by: "netting", amount_nano: takenNano, reference: run };
  return canonicalJson(
    type === "statement-netting" ? { ...frame, statement_id: id } : { ...frame, dispute_id: id },
  );
}

function sum(amounts: readonly { readonly amountNano: Nano }[]): Nano {
  return amounts.reduce((all, { amountNano }) => all + amountNano, 0n);
}

function positive(amountNano: Nano): Nano {
  return amountNano > 0n ? amountNano : 0n;
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
