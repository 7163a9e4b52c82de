import type { ConnectRouter } from "@connectrpc/connect";
import type { Registry as Metrics } from "prom-client";
import type { Geography } from "../core/region.ts";
import type { ReplicaId } from "../core/units.ts";
import type { Clock } from "../io/clock.ts";
import type { HotMethod } from "../io/grpc-hot.ts";
import type { Identify } from "../io/grpc-identity.ts";
import type { Log } from "../io/log.ts";
import type { Registry } from "../io/registry.ts";

export interface Control {
  /** Pool, placement and policy services. */
  routes(router: ConnectRouter): void;
  /** Place, PlaceStream and Report for the fast lane of the same server. */
  readonly hot: readonly HotMethod[];
  /** Who has which key, by the registry. */
  readonly identify: Identify;
  /** The registry is loaded, so answers are as good as they get. */
  isReady(): boolean;
  close(): Promise<void>;
}

export interface ControlOptions {
  readonly registry: Registry;
  readonly geography: Geography;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly replica: ReplicaId;
  readonly journalFolder: string;
  readonly signal: AbortSignal;
}

export async function openControl(options: ControlOptions): Promise<Control> {
  throw new Error(`control ${options.replica} is not open`);
}
