import { readFileSync } from "node:fs";
import type { Transport } from "@connectrpc/connect";
import type { PoolRegistration } from "../core/pool.ts";
import { systemClock } from "../io/clock.ts";
import { openLog, type Log } from "../io/log.ts";
import { openMetrics, serveMetrics } from "../io/metrics.ts";
import { rpcTransport } from "../io/rpc-client.ts";
import { logOf, openClaims } from "./claims-config.ts";
import { toRegistration, type AgentConfig } from "./config.ts";
import type { DialectName } from "./dialects.ts";
import { PowerMeter, type PowerFigures, type PowerSource } from "./power.ts";
import { ScrapeError } from "./prometheus-text.ts";
import { declaredAt, streamReports, type PoolFigures } from "./report-stream.ts";
import { Scraper } from "./scrape.ts";
import { openWitness, type WitnessConfig } from "./witness-config.ts";
import { followLog, LogFollower } from "./witness.ts";

export { openClaims } from "./claims-config.ts";
export { configSchema } from "./config.ts";
export { CountQueue } from "./count-queue.ts";
export { openWitness, toWitnessConfig } from "./witness-config.ts";
export { followLog, LogFollower, type FollowOutcome } from "./witness.ts";
export type { PowerSource } from "./power.ts";

export interface AgentOptions {
  /** Its generation is set when the agent starts. */
  readonly registration: PoolRegistration;
  readonly metricsUrl: string;
  readonly dialect: DialectName;
  readonly power: PowerSource;
  readonly rpcUrl: string;
  /** Of the vendor. Empty where the server takes callers of its own machine as operators. */
  readonly credential: string;
  readonly intervalMs: number;
  /** Key of the engine, where it guards its metrics. */
  readonly engineKey?: string | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface Agent {
  /** The control plane took the last report. */
  isReady(): boolean;
  /** Resolves when it was told to stop; rejects when it cannot go on, with a `SupersededError` if it was replaced. */
  readonly ended: Promise<void>;
  /** Resolves when the stream is over. */
  close(): Promise<void>;
}

/** A report that is missed twice leaves the figures believed in full. */
const INTERVALS_VALID = 3;

/**
 * Registers the pool and reports it from now on. Resolves at once: while the control plane or the engine is
 * away the agent keeps trying. An engine that does not answer is not reported at all, so that its pool fades.
 */
export async function openAgent(options: AgentOptions): Promise<Agent> {
  const { registration, rpcUrl, credential, intervalMs, signal } = options;
  const log = options.log.child({ pool: registration.id });
  const stop = new AbortController();
  const stopped = AbortSignal.any([signal, stop.signal]);
  const figures = new Figures({ ...options, log, signal: stopped });
  let isTaken = false;
  const ended = streamReports({
    registration,
    rpcUrl,
    credential: credential === "" ? undefined : credential,
    intervalMs,
    nextReport: () => figures.next(),
    onTaken: (isTakenNow) => {
      isTaken = isTakenNow;
    },
    clock: systemClock,
    log,
    signal: stopped,
  });
  const over = ended.catch((error: unknown) =>
    log.error({ error: String(error) }, "the agent ended by itself"),
  );
  return {
    isReady: () => isTaken,
    ended,
    close: async () => {
      stop.abort();
      await over;
    },
  };
}

/** What the engine and the accelerators say, asked for at the same time. */
class Figures {
  readonly #options: AgentOptions;
  readonly #scraper: Scraper;
  readonly #meter: PowerMeter;
  /** What went wrong last, so that it is said once and not at every interval. */
  readonly #troubles = new Map<string, string>();

  constructor(options: AgentOptions) {
    const { metricsUrl, dialect, registration, engineKey, power, intervalMs } = options;
    const validMs = INTERVALS_VALID * intervalMs;
    const now = (): number => systemClock.now();
    this.#options = options;
    this.#scraper = new Scraper({
      metricsUrl,
      dialect,
      models: registration.models,
      engineKey,
      validMs,
      now,
    });
    this.#meter = new PowerMeter({ source: power, validMs, now });
  }

  /** Undefined while the engine does not answer. */
  async next(): Promise<PoolFigures | undefined> {
    const { registration, signal } = this.#options;
    const [models, power] = await Promise.all([
      this.#tried("engine", () => this.#scraper.scrape(signal)),
      this.#tried("power", () => this.#meter.read(signal)),
    ]);
    if (models === undefined) return undefined;
    const { pue, greenShare } = declaredAt(registration, systemClock.now());
    return { models, ...(power ?? unknownPower), pue, greenShare };
  }

  async #tried<Result>(what: string, run: () => Promise<Result>): Promise<Result | undefined> {
    const { log, signal } = this.#options;
    try {
      const result = await run();
      if (this.#troubles.delete(what)) log.info({ what }, "can be read again");
      return result;
    } catch (error) {
      if (!(error instanceof ScrapeError)) throw error;
      if (!signal.aborted && this.#troubles.get(what) !== error.message) {
        log.warn({ what, reason: error.message }, "cannot be read");
        this.#troubles.set(what, error.message);
      }
      return undefined;
    }
  }
}

const unknownPower: PowerFigures = { powerWatts: undefined, energyJoulesTotal: undefined };

/** Reports one pool until the signal says stop. Throws `SupersededError` when a newer agent took over. */
export async function start(config: AgentConfig, signal: AbortSignal): Promise<void> {
  const { registry, onLogMessage } = openMetrics("0.1.0");
  const log = openLog({ role: "agent", level: config.logLevel, onMessage: onLogMessage });
  const credential =
    config.credentialFile === "" ? "" : readFileSync(config.credentialFile, "utf8").trim();
  const engineKey =
    config.engineKeyFile === "" ? undefined : readFileSync(config.engineKeyFile, "utf8").trim();
  const registration = toRegistration(config.pool, systemClock.now());
  const agent = await openAgent({
    registration,
    metricsUrl: config.metricsUrl,
    dialect: config.dialect,
    power: config.power,
    rpcUrl: config.rpcUrl,
    credential,
    engineKey,
    intervalMs: config.intervalMs,
    log,
    signal,
  });
  const isReady = (): boolean => agent.isReady();
  const stop = new AbortController();
  const until = AbortSignal.any([signal, stop.signal]);
  const beside = { registration, credential, log, signal: until };
  const running: Running[] = [];
  try {
    running.push(...(await startWitness(config, beside)), ...(await startClaims(config, beside)));
    await serveMetrics({ ...config.metrics, registry, isReady, signal: until });
    log.info({ pool: config.pool.id, rpcUrl: config.rpcUrl }, "the agent reports");
    await agent.ended;
  } finally {
    stop.abort();
    await agent.close();
    await Promise.all(running.map(async ({ closed }) => closed));
  }
}

/** What the parts beside the reports have in common. */
interface Beside {
  readonly registration: PoolRegistration;
  readonly credential: string;
  readonly log: Log;
  readonly signal: AbortSignal;
}

interface Running {
  readonly closed: Promise<void>;
}

/** The vendor's witness beside its pool, if it is set up. */
async function startWitness(
  { witness, rpcUrl }: AgentConfig,
  { credential, log, signal }: Beside,
): Promise<Running[]> {
  if (witness === undefined) return [];
  const transport = transportTo(rpcUrl, credential);
  return [await openLogWitness({ ...witness, transport, log, signal })];
}

/** The vendor's own count, if it is set up. */
async function startClaims(
  { claims, rpcUrl }: AgentConfig,
  { registration, credential, log, signal }: Beside,
): Promise<Running[]> {
  if (claims === undefined) return [];
  const transport = transportTo(rpcUrl, credential);
  const source = logOf(claims.logFile, registration, log);
  const { vendor } = registration;
  return [await openClaims({ ...claims, vendor, source, transport, log, signal })];
}

function transportTo(url: string, credential: string): Transport {
  return rpcTransport({ url, credential: credential === "" ? undefined : credential });
}

/**
 * Follows a vendor's log at the operator and signs it as long as it only grows, until the signal says stop. `closed` never
 * rejects.
 */
export async function openLogWitness(
  options: WitnessConfig & {
    readonly transport: Transport;
    readonly log: Log;
    readonly signal: AbortSignal;
  },
): Promise<Running> {
  const { logId, intervalMs, everyLeaf, transport, signal } = options;
  const log = options.log.child({ logId });
  const { witness, logKeys, state } = await openWitness(options, () => systemClock.now());
  const follower = new LogFollower({
    ...{ transport, logId, logKeys, witness },
    isEveryLeafRead: everyLeaf,
  });
  const onOutcome = (): void => undefined;
  const closed = followLog({ follower, intervalMs, onOutcome, log, signal })
    .catch((error: unknown) => log.error({ error }, "the witness ended by itself"))
    .finally(() => state.close());
  return { closed };
}
