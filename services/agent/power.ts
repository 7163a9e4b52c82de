import type { Figure } from "../core/figure.ts";
import type { Instant } from "../core/units.ts";
import { GrowingTotal } from "./counters.ts";
import { fetchText } from "./fetch-text.ts";
import { parsePrometheus, ScrapeError, type Sample } from "./prometheus-text.ts";

/** Where the power of a pool can be read. */
export type PowerSource =
  /** Nowhere: power and energy are unknown. */
  | { readonly kind: "none" }
  | {
      /** NVIDIA's DCGM exporter, or the Ascend npu-exporter. */
      readonly kind: "dcgm" | "npu";
      readonly url: string;
      /** Draw of what the exporter does not see: the rest of the nodes, as declared. */
      readonly hostWatts: number;
    };

export interface PowerFigures {
  readonly powerWatts: Figure | undefined;
  readonly energyJoulesTotal: Figure | undefined;
}

interface Exporter {
  readonly watts: string;
  /** Counter of millijoules, where there is one. */
  readonly milliJoules: string | undefined;
  /** Labels that tell accelerators apart: parts of one (MIG) share it. */
  readonly identity: readonly string[];
}

const exporters: Readonly<Record<"dcgm" | "npu", Exporter>> = {
  dcgm: {
    watts: "DCGM_FI_DEV_POWER_USAGE",
    milliJoules: "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    identity: ["UUID", "gpu", "Hostname"],
  },
  npu: {
    watts: "npu_chip_info_power",
    milliJoules: undefined,
    identity: ["vdie_id", "id", "pcie_bus_info"],
  },
};

/** Between two readings that are further apart nobody knows what was drawn. */
const GAP_MS_MAX = 60_000;

/** Reads the power of a pool again and again, and adds up its energy. */
export class PowerMeter {
  readonly #source: PowerSource;
  readonly #validMs: number;
  readonly #now: () => Instant;
  readonly #counted = new GrowingTotal();
  /** The counters' sum when this meter began: what was drawn before is not its business. */
  #countedAtStart: number | undefined;
  #integratedJoules = 0;
  #last: { readonly at: Instant; readonly watts: number } | undefined;

  constructor(options: {
    readonly source: PowerSource;
    readonly validMs: number;
    readonly now: () => Instant;
  }) {
    this.#source = options.source;
    this.#validMs = options.validMs;
    this.#now = options.now;
  }

  /** Throws a `ScrapeError` when the exporter does not answer, or with what cannot be read. */
  async read(signal: AbortSignal): Promise<PowerFigures> {
    const source = this.#source;
    if (source.kind === "none") return { powerWatts: undefined, energyJoulesTotal: undefined };
    const exporter = exporters[source.kind];
    const askedAt = this.#now();
    const text = await fetchText(source.url, { signal });
    const samples = parsePrometheus(
      text,
      (name) => name === exporter.watts || name === exporter.milliJoules,
    );
    const watts = byAccelerator(samples, exporter.watts, exporter);
    if (watts.length === 0) throw new ScrapeError(`${source.url}: no ${exporter.watts} found`);
    // The exporter may say when it was true: then it is as old as that.
    const at = Math.min(askedAt, ...watts.map((sample) => sample.atMs ?? Infinity));
    return this.#figures(at, watts, byAccelerator(samples, exporter.milliJoules, exporter));
  }

  #figures(at: Instant, watts: readonly Sample[], milliJoules: readonly Sample[]): PowerFigures {
    const hostWatts = this.#source.kind === "none" ? 0 : this.#source.hostWatts;
    const acceleratorWatts = watts.reduce((sum, { value }) => sum + value, 0);
    const hasCounter = milliJoules.length > 0;
    this.#integrate(at, hasCounter ? hostWatts : acceleratorWatts + hostWatts);
    const joules = this.#integratedJoules + (hasCounter ? this.#countedJoules(milliJoules) : 0);
    const figure = (value: number): Figure => ({
      value,
      source: hostWatts === 0 && hasCounter ? "measured" : "estimated",
      observedAt: at,
      validMs: this.#validMs,
    });
    return {
      powerWatts: {
        ...figure(acceleratorWatts + hostWatts),
        source: hostWatts === 0 ? "measured" : "estimated",
      },
      energyJoulesTotal: figure(joules),
    };
  }

  #countedJoules(milliJoules: readonly Sample[]): number {
    const total = this.#counted.add(milliJoules) / 1_000;
    this.#countedAtStart ??= total;
    return total - this.#countedAtStart;
  }

  /** A straight line between two readings. */
  #integrate(at: Instant, watts: number): void {
    const last = this.#last;
    if (last !== undefined && at <= last.at) return;
    if (last !== undefined && at - last.at <= GAP_MS_MAX) {
      this.#integratedJoules += ((last.watts + watts) / 2) * ((at - last.at) / 1_000);
    }
    this.#last = { at, watts };
  }
}

/** One sample per accelerator: what several series say of the same one is the same figure. */
function byAccelerator(
  samples: readonly Sample[],
  name: string | undefined,
  { identity }: Exporter,
): Sample[] {
  const byIdentity = new Map<string, Sample>();
  for (const sample of samples) {
    if (sample.name !== name || sample.value < 0) continue;
    const key = identity.map((label) => sample.labels.get(label) ?? "").join(" ");
    if (!byIdentity.has(key)) byIdentity.set(key, sample);
  }
  return [...byIdentity.values()];
}
