import { basename } from "node:path";
import type { Policy } from "../core/placement/policy.ts";
import type { Answer, Report } from "../core/report.ts";
import type { Instant } from "../core/units.ts";
import { loadGeography } from "../io/preset.ts";
import { arrivalsOf, type TraceOptions } from "./arrivals.ts";
import { loadFleet } from "./fleet.ts";
import { runWorld } from "./world.ts";

export interface VirtualReplayOptions {
  readonly trace: TraceOptions;
  readonly policy: Policy;
  /** Undefined: the preset. */
  readonly fleetPath: string | undefined;
  /** Model or alias that all requests want. */
  readonly model: string;
  /** Arrivals per unit of time, against the recording. */
  readonly speed: number;
  /** When the first request is due: prices depend on the hour. */
  readonly startAt: Instant;
  readonly inFlightMax: number;
  readonly onAnswer: (answer: Answer) => void;
}

/** Replays a recorded workload against the simulated fleet in virtual time. Deterministic by the seed. */
export async function replayVirtual(options: VirtualReplayOptions): Promise<Report> {
  const { trace, speed, startAt, fleetPath, ...rest } = options;
  const { path, seed, class: serviceClass } = trace;
  const { report } = await runWorld(arrivalsOf(trace), {
    ...rest,
    startAt,
    run: {
      id: `virtual-${seed}`,
      mode: "virtual",
      trace: basename(path),
      speed,
      seed,
      class: serviceClass,
    },
    fleet: loadFleet(fleetPath, startAt),
    geography: loadGeography(),
    reportLoss: 0,
    faults: [],
  });
  return report;
}
