import {
  defaultContract,
  type Contract,
} from "../../../services/core/settlement/terms/contract.ts";
import { termsJwsType } from "../../../services/core/settlement/terms/consent.ts";
import { signDetached } from "../../../services/core/settlement/proof/jws.ts";
import type { PriceBook } from "../../../services/core/settlement/pricing/price-book.ts";
import type { Party } from "../../../services/core/settlement/terms/terms-kinds.ts";
import type { InstantUs, PairId } from "../../../services/core/units.ts";
import { openSqliteLedger } from "../../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../../services/io/ledger-store.ts";
import { openLog } from "../../../services/io/log.ts";
import { openSqliteRegistry } from "../../../services/io/registry-sqlite.ts";
import { loadCalendar } from "../../../services/io/preset.ts";
import { newSigningKey, type SigningKey } from "../../../services/io/signing.ts";
import { AgreedBooks } from "../../../services/settlement/terms/agreed-books.ts";
import { Books } from "../../../services/settlement/terms/books.ts";
import { Documents } from "../../../services/settlement/documents.ts";
import { LedgerWriter } from "../../../services/settlement/ingest/ledger-writer.ts";
import { Terms } from "../../../services/settlement/terms/terms.ts";
import { PriceBookSchema } from "../../../services/wire/gen/tokengrid/v1/price_pb.js";
import { fromPriceBook } from "../../../services/wire/price.ts";
import { toJsonString } from "@bufbuild/protobuf";
import { priceBook, us } from "../../core/settlement/fixtures.ts";

export const north = "vendor:northgrid" as PairId;
export const now = us("2026-11-20T10:00:00+08:00");
export const later = us("2026-12-01T00:00:00+08:00");
export const log = openLog({ role: "test", level: "silent" });
const operatorKey = newSigningKey();

export async function openTerms(store: LedgerStore, at: () => InstantUs = () => now) {
  const writer = new LedgerWriter({ store, log });
  const documents = new Documents();
  const operator = { kid: "operator", publicKey: operatorKey.publicKey, sign: operatorKey.sign };
  const calendars = [loadCalendar()];
  const terms = new Terms({ documents, writer, operator, calendars, nowUs: at, log });
  const heard: string[] = [];
  terms.onAgreed(({ id }) => heard.push(id));
  return {
    terms,
    heard,
    writer,
    start: async () => {
      await documents.follow(store, writer);
      await terms.start();
    },
  };
}

export async function started(at?: () => InstantUs) {
  const store = await openSqliteLedger(":memory:");
  const opened = await openTerms(store, at);
  await opened.start();
  const again = async (kept: LedgerStore) => {
    const other = await openTerms(kept, at);
    await other.start();
    return other.terms;
  };
  return { store, ...opened, again };
}

export function contract(changes: Partial<Contract> = {}): Contract {
  return {
    ...defaultContract,
    id: "northgrid",
    pair: north,
    effectiveFromUs: later,
    signatures: "required",
    ...changes,
  };
}

export function jws(key: SigningKey, kid: string, payload: string): string {
  return signDetached(payload, { kid, typ: termsJwsType }, key.sign);
}

export async function withKey(terms: Terms, party: Party = north) {
  const key = newSigningKey();
  await terms.registerKey({
    party,
    kid: `${party}/1`,
    publicKey: key.publicKey,
    jws: "",
    by: party,
  });
  return (text: string) => jws(key, `${party}/1`, text);
}

export async function withRegistry(author: string, book: PriceBook) {
  const opened = await started();
  const registry = await openSqliteRegistry(":memory:");
  const books = new Books({ registry, calendarOf: (id) => opened.terms.state.calendarOf(id), log });
  const agreed = new AgreedBooks({ books, terms: opened.terms, registry, log });
  const publish = async (by: string, next: PriceBook) =>
    registry.set({
      kind: "price-book",
      key: `${next.id}@${next.version}`,
      value: toJsonString(PriceBookSchema, fromPriceBook(next)),
      baseRevision: 0,
      author: by,
      comment: "",
    });
  await publish(author, book);
  return { ...opened, registry, publish, agreed };
}

export const listed = priceBook({ calendar: loadCalendar() });
