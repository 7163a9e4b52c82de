import type { Figure } from "../core/figure.ts";
import type { EngineProfile, ModelReport, PoolReport, ServedModel } from "../core/pool.ts";
import type { VendorId } from "../core/units.ts";
import type { FleetPool } from "./fleet.ts";
import type { Lie, WorldFault } from "./world-options.ts";

type Told = Extract<WorldFault, { readonly kind: "vendor-lies" }>;

type Declared = FleetPool["registration"];

/** What becomes of the truth on its way out of a vendor: what its pools declare and what their agents report. */
export interface Lying {
  readonly declared: (model: ServedModel) => ServedModel;
  readonly reported: (model: ModelReport) => ModelReport;
}

const asIs = <Value>(value: Value): Value => value;

const lyings: Readonly<Record<Lie, (factor: number) => Lying>> = {
  capacity: (factor) => ({
    declared: (model) => ({
      ...model,
      slotsTotal: Math.max(1, Math.round(model.slotsTotal * factor)),
      engineProfile: model.engineProfile && roomier(model.engineProfile, factor),
    }),
    reported: (model) => ({
      ...model,
      slotsTotal: times(model.slotsTotal, factor),
      kvTokensTotal: times(model.kvTokensTotal, factor),
      kvUsedRatio: times(model.kvUsedRatio, 1 / factor),
    }),
  }),
  speed: (factor) => ({
    declared: (model) => ({
      ...model,
      engineProfile: model.engineProfile && faster(model.engineProfile, factor),
    }),
    reported: asIs,
  }),
  load: (factor) => ({
    declared: asIs,
    reported: (model) => ({
      ...model,
      runningRequests: times(model.runningRequests, factor),
      waitingRequests: times(model.waitingRequests, factor),
      kvUsedRatio: times(model.kvUsedRatio, factor),
    }),
  }),
  waiting: (factor) => ({
    declared: asIs,
    reported: (model) => ({ ...model, waitingRequests: times(model.waitingRequests, factor) }),
  }),
};

function roomier(profile: EngineProfile, factor: number): EngineProfile {
  return {
    ...profile,
    kvTokensTotal: Math.max(1, Math.round(profile.kvTokensTotal * factor)),
    sequencesMax: Math.max(1, Math.round(profile.sequencesMax * factor)),
  };
}

function faster(profile: EngineProfile, factor: number): EngineProfile {
  return {
    ...profile,
    stepBaseMs: profile.stepBaseMs / factor,
    stepMsPerSequence: profile.stepMsPerSequence / factor,
    stepMsPerKvToken: profile.stepMsPerKvToken / factor,
    prefillMsPerToken: profile.prefillMsPerToken / factor,
  };
}

/** What is unknown stays unknown. */
function times(figure: Figure | undefined, factor: number): Figure | undefined {
  return figure && { ...figure, value: figure.value * factor };
}

/** All that the vendors of a run make of the truth. */
export class Lies {
  readonly #byVendor: ReadonlyMap<VendorId, readonly Lying[]>;

  constructor(faults: readonly WorldFault[]) {
    const told = faults.filter((fault): fault is Told => fault.kind === "vendor-lies");
    this.#byVendor = new Map(
      [...Map.groupBy(told, ({ vendor }) => vendor)].map(([vendor, all]) => [
        vendor,
        all.map(({ about, factor }) => lyings[about](factor)),
      ]),
    );
  }

  declared<Of extends Declared>(registration: Of): Of {
    const { vendor, models } = registration;
    const said = models.map((model) =>
      this.#of(vendor).reduce((each, { declared }) => declared(each), model),
    );
    return { ...registration, models: said };
  }

  reported(vendor: VendorId, report: PoolReport): PoolReport {
    const all = this.#of(vendor);
    if (all.length === 0) return report;
    const models = report.models.map((model) =>
      all.reduce((each, { reported }) => reported(each), model),
    );
    return { ...report, models };
  }

  #of(vendor: VendorId): readonly Lying[] {
    return this.#byVendor.get(vendor) ?? [];
  }
}
