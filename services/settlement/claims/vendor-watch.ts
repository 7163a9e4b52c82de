import { outputOf, type Counted } from "../../core/settlement/claims/counted.ts";
import { fromSuspicionText, toSuspicionText } from "../../core/settlement/claims/suspicion-text.ts";
import {
  falseAlarms,
  noSuspicion,
  suspect,
  type Suspicion,
} from "../../core/settlement/claims/suspicion.ts";
import { densityUpperBound, joined, noText } from "../../core/settlement/claims/text-density.ts";
import type { InstantUs, PairId } from "../../core/units.ts";
import type { LedgerDocument } from "../../io/ledger-store.ts";
import type { Documents } from "../documents.ts";
import type { Writer } from "../ingest/writer.ts";

/** A model of a vendor that is in audit. */
export interface Audit {
  readonly model: string;
  readonly check: string;
  readonly records: number;
  /** Whose evidence it was. */
  readonly period: string;
}

/** What an attempt says beside its counts. */
export interface Seen {
  readonly bytes: bigint | undefined;
  readonly idsReturned: bigint | undefined;
  readonly idsCanonical: bigint | undefined;
}

interface Parts {
  readonly writer: Writer;
  readonly documents: Documents;
  nowUs(): InstantUs;
}

/**
 * The tests over time. Each closed period of a vendor is evidence once: what was learned is a document, and the next
 * period goes on from there. So the stated part of false alarms is of all periods together.
 */
export class VendorWatch {
  readonly #parts: Parts;
  readonly #byPair = new Map<PairId, ReadonlyMap<string, Suspicion>>();
  readonly #audits = new Map<PairId, Map<string, Audit>>();
  /** `<pair>:<period>` whose evidence was added. */
  readonly #heard = new Set<string>();
  #streams = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
    parts.documents.on(["suspicion"], (document) => this.#learn(document));
  }

  auditsOf(pair: PairId): readonly Audit[] {
    return [...(this.#audits.get(pair)?.values() ?? [])];
  }

  hasHeard(pair: PairId, period: string): boolean {
    return this.#heard.has(`${pair}:${period}`);
  }

  /** Collects the evidence of a period, to be kept by `keep` if the run comes to its end. */
  listen(pair: PairId): Listening {
    return new Listening(this.#byPair.get(pair) ?? new Map(), {
      streams: this.#streams,
      densityMost: this.#densityMost(pair),
    });
  }

  /** Resolves when it is durable; the evidence of a period is added once. */
  async keep(pair: PairId, period: string, listening: Listening): Promise<void> {
    await this.#parts.writer.write(async (store) => {
      const id = `${pair}:${period}`;
      if ((await store.document("suspicion", id)) !== undefined)
        return { change: {}, result: undefined };
      const body = toSuspicionText({ period, byModel: listening.byModel });
      return {
        change: { documents: [{ kind: "suspicion", id, pair, atUs: this.#parts.nowUs(), body }] },
        result: undefined,
      };
    });
  }

  /** By the other vendors of a model: what its text needs at most, if there is enough of it. */
  #densityMost(pair: PairId): (model: string) => number | undefined {
    const byModel = new Map<string, number | undefined>();
    return (model) => {
      if (!byModel.has(model)) {
        const others = [...this.#byPair].filter(([each]) => each !== pair);
        const reference = others
          .map(([, models]) => models.get(model))
          // Who is suspected is no reference.
          .filter((each) => each?.mode === "normal")
          .reduce((sum, each) => joined(sum, each?.density ?? noText), noText);
        byModel.set(model, densityUpperBound(reference, falseAlarms));
      }
      return byModel.get(model);
    };
  }

  #learn({ id, pair, body }: LedgerDocument): void {
    if (pair === "internal") return;
    const { period, byModel } = fromSuspicionText(body);
    this.#heard.add(id);
    this.#byPair.set(pair, byModel);
    const audits = this.#audits.get(pair) ?? new Map<string, Audit>();
    for (const [model, { flag, stream }] of byModel) {
      this.#streams = Math.max(this.#streams, stream);
      if (flag === undefined) audits.delete(model);
      else if (!audits.has(model)) {
        audits.set(model, { model, check: flag.check, records: flag.records, period });
      }
    }
    this.#audits.set(pair, audits);
  }
}

/** The evidence of one run. Nothing is kept of a run that breaks off. */
export class Listening {
  readonly #byModel: Map<string, Suspicion>;
  readonly #densityMost: (model: string) => number | undefined;
  #streams: number;

  constructor(
    before: ReadonlyMap<string, Suspicion>,
    known: {
      readonly streams: number;
      readonly densityMost: (model: string) => number | undefined;
    },
  ) {
    this.#byModel = new Map(before);
    this.#streams = known.streams;
    this.#densityMost = known.densityMost;
  }

  get byModel(): ReadonlyMap<string, Suspicion> {
    return this.#byModel;
  }

  hear(ours: Counted, theirs: Counted, seen: Seen): void {
    const { model } = ours;
    const before = this.#byModel.get(model) ?? noSuspicion(this.#nextStream());
    const { bytes, idsReturned, idsCanonical } = seen;
    const hasIds = idsReturned !== undefined && idsCanonical !== undefined;
    const sighting = {
      ours: outputOf(ours.tokens),
      theirs: outputOf(theirs.tokens),
      bytes,
      densityMost: this.#densityMost(model),
      ids: hasIds ? { returned: idsReturned, canonical: idsCanonical } : undefined,
      // Which prefixes a pool has seen is known at placement and not in the ledger.
      cache: undefined,
    };
    this.#byModel.set(model, suspect(before, sighting));
  }

  #nextStream(): number {
    this.#streams += 1;
    return this.#streams;
  }
}
