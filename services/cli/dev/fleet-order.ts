/** What the fleet's thread is started with: plain data, it crosses a thread. */
export interface FleetOrder {
  /** File of the fleet. */
  readonly fleetPath: string;
  readonly host: string;
  readonly port: number;
  /** Of the control replica that the agents report to. */
  readonly rpcUrl: string;
  readonly credentialByVendor: Readonly<Record<string, string>>;
  /** Folder of the keys of the simulated parties. */
  readonly keys: string;
  /** Folder of the folders of the vendors. */
  readonly vendors: string;
  readonly reportIntervalMs: number;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
}

/** What the thread says once all its agents run. */
export interface FleetNews {
  readonly port: number;
  readonly pools: readonly string[];
}

/** What the thread is told later. */
export type FleetWord = "agreed" | "stop";
