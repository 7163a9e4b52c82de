import { Registry as Metrics } from "prom-client";
import { defaultContract } from "../../services/core/settlement/terms/contract.ts";
import { defaultPairTerms } from "../../services/core/settlement/terms/pair-terms.ts";
import type { TokenPackage } from "../../services/core/settlement/packages/token-package.ts";
import type { PairId } from "../../services/core/units.ts";
import { systemClock } from "../../services/io/clock.ts";
import type { LedgerStore } from "../../services/io/ledger-store.ts";
import { openLog } from "../../services/io/log.ts";
import { Agreements } from "../../services/settlement/terms/agreements.ts";
import { Ingest } from "../../services/settlement/ingest/ingest.ts";
import { LedgerWriter } from "../../services/settlement/ingest/ledger-writer.ts";
import { SettlementMetrics } from "../../services/settlement/metrics.ts";
import { Producers } from "../../services/settlement/ingest/producers.ts";
import {
  buyBook,
  channel,
  licenceBook,
  owner,
  rateRule,
  sellBook,
} from "../core/settlement/market.ts";

const log = openLog({ role: "test", level: "silent" });

/** Ingest over a store, with both sides agreed unless a test leaves one out. */
export function openIngest(
  store: LedgerStore,
  options: { readonly hasSellBook?: boolean; readonly packages?: readonly TokenPackage[] } = {},
) {
  const { hasSellBook = true, packages = [] } = options;
  const known = (id: string, version: bigint) =>
    id === buyBook.id && version === buyBook.version ? buyBook : undefined;
  const agreements = new Agreements({
    buyBooks: { known, find: async (id, version) => known(id, version) },
    packagesOf: (tenant) => packages.filter((each) => each.tenant === tenant),
  });
  const { touBasis, touGraceUs, attemptNanoMax } = defaultContract;
  const terms = { ...defaultPairTerms, touBasis, touGraceUs, attemptNanoMax };
  agreements.addContract({
    ...terms,
    ...{ id: "acme", pair: "tenant:acme" as PairId, sellBook: sellBook.id, channel },
    ...{ creditNano: undefined, splitRule: rateRule.id },
  });
  const models = licenceBook.lines.map(({ model }) => model);
  agreements.addContract({
    ...terms,
    ...{ id: "qwen", pair: owner, licenceBook: licenceBook.id, models: [...new Set(models)] },
  });
  if (hasSellBook) agreements.addBook(sellBook);
  agreements.addBook(licenceBook);
  agreements.addSplitRule(rateRule);
  const writer = new LedgerWriter({ store, log });
  const ingest = new Ingest({
    ...{ writer, terms: agreements, metrics: new SettlementMetrics(new Metrics()), log },
    producers: new Producers({ states: [], clock: systemClock, onLost: () => undefined }),
    saltOf: (record) => `salt of ${record}`,
  });
  return { writer, ingest, agreements };
}

/** A store whose next commit ends as it is told. */
export class UnsureStore {
  readonly store: LedgerStore;
  /** `lost`: it is written and the answer is not; `refused`: nothing is written. */
  next: "sure" | "lost" | "refused" = "sure";

  constructor(store: LedgerStore, failure: () => Error) {
    this.store = new Proxy(store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        const call = value.bind(target);
        if (name !== "commit") return call;
        return async (batch: unknown): Promise<void> => {
          const end = this.next;
          this.next = "sure";
          if (end === "refused") throw failure();
          await call(batch);
          if (end === "lost") throw failure();
        };
      },
    });
  }
}
