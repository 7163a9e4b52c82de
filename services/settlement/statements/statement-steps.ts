import { canonicalJson } from "../../core/settlement/canonical.ts";
import { verifyDetached, type JwsHeader } from "../../core/settlement/proof/jws.ts";
import type { LedgerEntry } from "../../core/settlement/ledger/ledger.ts";
import {
  isBill,
  receiptEntries,
  stateEntries,
} from "../../core/settlement/statements/statement-entries.ts";
import { statementJwsType } from "../../core/settlement/statements/statement-check.ts";
import { payableNano, type Statement } from "../../core/settlement/statements/statement.ts";
import type { InstantUs, Nano, PairId } from "../../core/units.ts";
import type { LedgerDocument, LedgerStore } from "../../io/ledger-store.ts";
import { verify } from "../../io/signing.ts";
import { toConnectError } from "../../wire/errors.ts";
import { refuseOverdrawn } from "../claims/set-off.ts";
import type { Writer } from "../ingest/writer.ts";

export const parties = ["operator", "counterparty"] as const;
export type StatementParty = (typeof parties)[number];

export interface StatementSignature {
  readonly party: StatementParty;
  readonly kid: string;
  readonly jws: string;
  readonly atUs: InstantUs;
}

/** What became of a statement after it was closed. */
export interface StatementProgress {
  readonly signatures: readonly StatementSignature[];
  readonly approvedNano: Nano;
  readonly paidNano: Nano;
}

interface Parts {
  readonly store: LedgerStore;
  readonly writer: Writer;
  readonly find: (id: string) => Promise<Statement | undefined>;
  /** Key of a party, lower-case hex; `internal` is the operator. Undefined for a stranger. */
  readonly keyOf: (party: PairId | "internal", kid: string) => string | undefined;
  /** Of the statement, what disputes keep from being approved with it. */
  readonly disputedNano: (statement: string) => Promise<Nano>;
  readonly nowUs: () => InstantUs;
}

/** Countersigning, approving and paying: each a document, and what it moves in the same transaction. */
export class StatementSteps {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async sign(id: string, party: StatementParty, jws: string): Promise<StatementSignature> {
    const { writer, nowUs } = this.#parts;
    return writer.write(async (store) => {
      const statement = await this.#closed(id);
      const header = this.#headerOf(statement, party, jws);
      const key = `${id}:${party}`;
      const before = await store.document("statement-signature", key);
      if (before !== undefined && before.body !== jws) {
        throw toConnectError(
          "CONFLICT",
          `expected the signature of ${party} that is there, found another`,
        );
      }
      const atUs = before?.atUs ?? nowUs();
      const result = { party, kid: header.kid, jws, atUs };
      if (before !== undefined) return { change: {}, result };
      const document = {
        kind: "statement-signature",
        id: key,
        pair: statement.pair,
        atUs,
        body: jws,
      };
      return { change: { documents: [document] }, result };
    });
  }

  /** Stated → approved: all that is not in dispute. The same again changes nothing. */
  async approve(id: string, by: string): Promise<StatementProgress> {
    const { writer, nowUs, disputedNano } = this.#parts;
    await writer.write(async (store) => {
      const statement = payable(await this.#closed(id));
      const { approvedNano } = await progressOf(store, id);
      const openNano = payableNano(statement) - (await disputedNano(id)) - approvedNano;
      if (openNano === 0n) return { change: {}, result: undefined };
      const atUs = nowUs();
      const txn = `approval:${id}:${approvedNano}`;
      const move = { txn, cause: id, atUs, amountNano: openNano };
      const body = stepText("statement-approval", { id, by, amountNano: openNano, reference: "" });
      return {
        change: {
          entries: stateEntries(statement.pair, move, ["stated", "approved"]),
          documents: [
            {
              kind: "statement-approval",
              id: `${id}:${approvedNano}`,
              pair: statement.pair,
              atUs,
              body,
            },
          ],
        },
        result: undefined,
      };
    });
    return progressOf(this.#parts.store, id);
  }

  /** Approved → paid. `reference` names the transfer: the same one again changes nothing. */
  async pay(
    id: string,
    payment: {
      readonly by: string;
      readonly amountNano: Nano | undefined;
      readonly reference: string;
    },
  ): Promise<StatementProgress> {
    const { writer, nowUs } = this.#parts;
    const { by, reference } = payment;
    await writer.write(async (store) => {
      const statement = payable(await this.#closed(id));
      const key = `${id}:${reference}`;
      const before = await store.document("statement-payment", key);
      const { approvedNano, paidNano } = await progressOf(store, id);
      const amountNano = payment.amountNano ?? approvedNano - paidNano;
      const body = stepText("statement-payment", { id, by, amountNano, reference });
      if (before !== undefined) {
        refuseOther(before, payment.amountNano);
        return { change: {}, result: undefined };
      }
      refuseBeyond(amountNano, approvedNano - paidNano);
      const atUs = nowUs();
      const move = { txn: `payment:${key}`, cause: id, atUs, amountNano };
      const { pair } = statement;
      const entries: LedgerEntry[] = isBill(pair)
        ? receiptEntries(pair, move)
        : stateEntries(pair, move, ["approved", "paid"]);
      await refuseOverdrawn(store, entries);
      const documents = [{ kind: "statement-payment", id: key, pair, atUs, body }];
      return { change: { entries, documents }, result: undefined };
    });
    return progressOf(this.#parts.store, id);
  }

  async progress(id: string): Promise<StatementProgress> {
    return progressOf(this.#parts.store, id);
  }

  async #closed(id: string): Promise<Statement> {
    const statement = await this.#parts.find(id);
    if (statement !== undefined) return statement;
    throw toConnectError("NOT_FOUND", `statement_id: there is no ${id}`);
  }

  #headerOf({ pair, text }: Statement, party: StatementParty, jws: string): JwsHeader {
    const signer = party === "operator" ? "internal" : pair;
    const keyOf = (kid: string) => this.#parts.keyOf(signer, kid);
    const header = verifyDetached({ jws, payload: text, typ: statementJwsType, keyOf }, verify);
    if (typeof header !== "string") return header;
    throw toConnectError("BAD_REQUEST", `jws: ${header}`, { metadata: { field: "jws" } });
  }
}

function payable(statement: Statement): Statement {
  if (statement.isPayable) return statement;
  const other = statement.kind === "daily" ? "the month's statement" : "the days' statements";
  throw toConnectError("UNSATISFIABLE", `${statement.id} is not paid by itself but with ${other}`);
}

function refuseBeyond(amountNano: Nano, openNano: Nano): void {
  const isWithin =
    openNano >= 0n ? amountNano > 0n && amountNano <= openNano : amountNano === openNano;
  if (isWithin) return;
  const message = `amount_nano: expected at most ${openNano}, which is approved and not paid, found ${amountNano}`;
  throw toConnectError("UNSATISFIABLE", message);
}

function refuseOther({ body }: LedgerDocument, amountNano: Nano | undefined): void {
  const { amount_nano: before } = JSON.parse(body) as StepMembers;
  if (amountNano === undefined || before === String(amountNano)) return;
  const message = `reference: expected a payment of ${before} nano as before, found one of ${amountNano}`;
  throw toConnectError("CONFLICT", message);
}

type StepMembers = Readonly<
  Record<"statement_id" | "by" | "amount_nano" | "reference" | "type", string>
>;

function stepText(
  type: string,
  step: {
    readonly id: string;
    readonly by: string;
    readonly amountNano: Nano;
    readonly reference: string;
  },
): string {
  const { id, by, amountNano, reference } = step;
  return canonicalJson({ type, v: "1", statement_id: id, by, amount_nano: amountNano, reference });
}

/** Steps of a statement; its documents are found by the pair that its id begins with. What was set off is as good as paid. */
export async function progressOf(store: LedgerStore, id: string): Promise<StatementProgress> {
  const pair = pairOfStatement(id);
  const own = async (kind: string): Promise<LedgerDocument[]> => {
    const found = await allDocuments(store, kind, pair);
    return found.filter((each) => each.id.startsWith(`${id}:`));
  };
  const amounts = async (kind: string): Promise<Nano> => {
    const steps = await own(kind);
    return steps.reduce(
      (sum, { body }) => sum + BigInt((JSON.parse(body) as StepMembers).amount_nano),
      0n,
    );
  };
  const signatures = await own("statement-signature");
  return {
    signatures: signatures.map(toSignature),
    approvedNano: await amounts("statement-approval"),
    paidNano: (await amounts("statement-payment")) + (await amounts("statement-netting")),
  };
}

/** Statements of a pair of which something is approved and neither paid nor set off, in the order of their approval. */
export async function unpaidStatements(
  store: LedgerStore,
  pair: PairId,
): Promise<{ readonly id: string; readonly amountNano: Nano }[]> {
  const left = new Map<string, Nano>();
  const add = async (kind: string, sign: bigint): Promise<void> => {
    for (const { body } of await allDocuments(store, kind, pair)) {
      const { statement_id: id, amount_nano: amount } = JSON.parse(body) as StepMembers;
      left.set(id, (left.get(id) ?? 0n) + sign * BigInt(amount));
    }
  };
  await add("statement-approval", 1n);
  await add("statement-payment", -1n);
  await add("statement-netting", -1n);
  const statements = [...left].map(([id, amountNano]) => ({ id, amountNano }));
  return statements.filter(({ amountNano }) => amountNano !== 0n);
}

/** `vendor:northgrid:daily:2026-11-21:0` → `vendor:northgrid`. */
export function pairOfStatement(id: string): PairId {
  return id.split(":").slice(0, -3).join(":") as PairId;
}

const pageDocuments = 1_000;

async function allDocuments(
  store: LedgerStore,
  kind: string,
  pair: PairId,
): Promise<LedgerDocument[]> {
  const all: LedgerDocument[] = [];
  let afterSeq = 0n;
  for (;;) {
    const page = await store.documents({ kind, pair }, { afterSeq, limit: pageDocuments });
    all.push(...page);
    const last = page.at(-1);
    if (last === undefined) return all;
    afterSeq = last.seq;
  }
}

function toSignature({ id, body, atUs }: LedgerDocument): StatementSignature {
  const party: StatementParty = id.endsWith(":operator") ? "operator" : "counterparty";
  const [encoded = ""] = body.split(".");
  const { kid } = JSON.parse(Buffer.from(encoded, "base64url").toString("utf8")) as { kid: string };
  return { party, kid, jws: body, atUs };
}
