import { setTimeout as wait } from "node:timers/promises";
import { Code, ConnectError, createClient, type Client } from "@connectrpc/connect";
import type { Figure } from "../core/figure.ts";
import type { PoolRegistration, PoolReport } from "../core/pool.ts";
import type { Instant } from "../core/units.ts";
import type { Clock } from "../io/clock.ts";
import type { Log } from "../io/log.ts";
import { rpcTransport } from "../io/rpc-client.ts";
import {
  PoolService,
  type ReportRequest,
  type ReportResponse,
} from "../wire/gen/tokengrid/v1/pool_pb.js";
import { fromPoolRegistration, fromPoolReport, poolStatuses, reportResults } from "../wire/pool.ts";

/** Bounds of how the agent speaks with the control plane. */
export const reportLimits = {
  registerTimeoutMs: 10_000,
  /** Reports without an answer: the stream is then taken for dead. */
  unansweredMax: 10,
  backoffMsMin: 500,
  /** While the control plane is away: a pool is not placed on until its agent is back. */
  backoffMsMax: 5_000,
  /** After a refusal, which only a person can mend. */
  refusedMs: 30_000,
} as const;

export interface ReportStreamOptions {
  readonly registration: PoolRegistration;
  readonly rpcUrl: string;
  /** Of the vendor. Undefined only where the server takes callers of its own machine. */
  readonly credential: string | undefined;
  readonly intervalMs: number;
  /** The next report but for its numbers; undefined when there is nothing to say. */
  readonly nextReport: () => Promise<PoolFigures | undefined>;
  /** Whether the last report was taken. */
  readonly onTaken: (isTaken: boolean) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Another agent reports for the pool, and what this one says is not taken any more. */
export class SupersededError extends Error {
  override name = "SupersededError";
  /** It is no bug: whoever runs two agents for one pool is told in words, without a stack. */
  readonly code = "SUPERSEDED";
}

/** What a report says; the stream numbers it. */
export type PoolFigures = Omit<PoolReport, "pool" | "generation" | "sequence">;

/**
 * Registers a pool and streams its reports until the signal says stop. A lost stream is opened again, later and
 * later while that fails; a refusal is said and tried again as slowly as possible, since only a person can mend it.
 * Throws `SupersededError` when a newer agent of the same pool has taken over.
 */
export async function streamReports(options: ReportStreamOptions): Promise<void> {
  const { rpcUrl, credential, clock, onTaken, log, signal } = options;
  const client = createClient(PoolService, rpcTransport({ url: rpcUrl, credential }));
  let [generation, sequence] = [Math.floor(clock.now()), 0];
  let backoffMs = 0;
  while (!signal.aborted) {
    const session = new Session(options, client, { generation, sequence });
    const end = await session.run();
    onTaken(false);
    sequence = session.sequence;
    if (end.kind === "stopped") return;
    if (end.kind === "superseded") {
      throw new SupersededError(
        `pool ${options.registration.id}: expected to be its only agent, found a newer one that reports for it`,
      );
    }
    if (end.kind === "renumber") [generation, sequence] = [Math.floor(clock.now()), 0];
    backoffMs = nextBackoffMs(end.kind, session.isAccepted ? 0 : backoffMs);
    log.warn({ end: end.kind, reason: end.reason, backoffMs }, "reports are not taken");
    // Somewhere in the second half: agents that lost the same server do not come back as one.
    await pause(backoffMs * (0.5 + Math.random() / 2), signal);
  }
}

type End =
  | { readonly kind: "stopped" }
  | { readonly kind: "superseded" }
  | { readonly kind: Trouble; readonly reason: string };

type Trouble = "lost" | "refused" | "renumber";

/** How long to wait at most before the next try; `beforeMs` is how long it was last time, 0 after a success. */
export function nextBackoffMs(trouble: Trouble, beforeMs: number): number {
  if (trouble === "refused") return reportLimits.refusedMs;
  return Math.min(reportLimits.backoffMsMax, Math.max(reportLimits.backoffMsMin, beforeMs * 2));
}

/** One registration and one stream. */
class Session {
  readonly #options: ReportStreamOptions;
  readonly #client: Client<typeof PoolService>;
  readonly #generation: number;
  readonly #over = new AbortController();
  /** Of the last report that was sent. */
  sequence: number;
  isAccepted = false;
  #unanswered = 0;
  #intervalMs: number;
  #status = "ready";

  constructor(
    options: ReportStreamOptions,
    client: Client<typeof PoolService>,
    numbers: { readonly generation: number; readonly sequence: number },
  ) {
    this.#options = options;
    this.#client = client;
    this.#generation = numbers.generation;
    this.sequence = numbers.sequence;
    this.#intervalMs = options.intervalMs;
  }

  async run(): Promise<End> {
    const { signal } = this.#options;
    const stop = AbortSignal.any([signal, this.#over.signal]);
    try {
      await this.#register(stop);
      for await (const response of this.#client.report(this.#reports(stop), { signal: stop })) {
        const end = this.#heard(response);
        if (end !== undefined) return end;
      }
      return signal.aborted ? { kind: "stopped" } : { kind: "lost", reason: "the stream ended" };
    } catch (error) {
      return signal.aborted ? { kind: "stopped" } : endOf(error);
    } finally {
      this.#over.abort();
    }
  }

  async #register(signal: AbortSignal): Promise<void> {
    const { registration, clock, intervalMs } = this.#options;
    const pool = fromPoolRegistration(
      { ...declaredAt(registration, clock.now()), generation: this.#generation },
      clock.now(),
    );
    const { reportIntervalMs } = await this.#client.register(
      { pool },
      { signal, timeoutMs: reportLimits.registerTimeoutMs },
    );
    this.#intervalMs = reportIntervalMs > 0 ? Math.min(intervalMs, reportIntervalMs) : intervalMs;
  }

  async *#reports(signal: AbortSignal): AsyncGenerator<ReportRequest> {
    const { nextReport, registration, clock } = this.#options;
    while (!signal.aborted) {
      const startedAt = clock.now();
      const figures = await nextReport();
      if (figures !== undefined) {
        if (this.#unanswered >= reportLimits.unansweredMax) {
          throw new ConnectError("reports are not answered", Code.DeadlineExceeded);
        }
        this.sequence += 1;
        this.#unanswered += 1;
        const numbers = { generation: this.#generation, sequence: this.sequence };
        yield fromPoolReport({ pool: registration.id, ...numbers, ...figures }, clock.now());
      }
      await pause(this.#intervalMs - (clock.now() - startedAt), signal);
    }
  }

  /** Undefined: go on. */
  #heard(response: ReportResponse): End | undefined {
    const { log } = this.#options;
    this.#unanswered = Math.max(0, this.#unanswered - 1);
    const result = reportResults.toWord("result", response.result);
    switch (result) {
      case "accepted":
        this.isAccepted = true;
        this.#options.onTaken(true);
        this.#note(poolStatuses.toWord("status", response.status));
        return undefined;
      case "stale-generation":
        return { kind: "superseded" };
      case "out-of-order":
        return { kind: "renumber", reason: `report ${response.sequence} came out of order` };
      case "rejected-identity":
        return { kind: "refused", reason: "the pool is not registered for this vendor" };
      case "rejected-schema":
        log.error({ sequence: response.sequence }, "a report was refused: a figure is not valid");
        return undefined;
    }
  }

  /** Said once per change: what operators want of the pool. */
  #note(status: string): void {
    if (status === this.#status) return;
    this.#status = status;
    this.#options.log.info({ status }, "the pool's status was changed");
  }
}

/** Codes by which a server says no to who we are or what we sent, not that it is in trouble. */
const refusals: ReadonlySet<Code> = new Set([
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.InvalidArgument,
  Code.FailedPrecondition,
]);

function endOf(error: unknown): End {
  const { code, rawMessage } = ConnectError.from(error);
  return { kind: refusals.has(code) ? "refused" : "lost", reason: rawMessage };
}

/** Ends early, without a word, when the signal says stop. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0) return;
  try {
    await wait(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** The registration as the vendor declares it now: what its agent goes on saying does not grow old. */
export function declaredAt(registration: PoolRegistration, now: Instant): PoolRegistration {
  const again = (figure: Figure | undefined): Figure | undefined =>
    figure === undefined ? undefined : { ...figure, observedAt: now };
  const { pue, greenShare } = registration;
  return { ...registration, pue: again(pue), greenShare: again(greenShare) };
}
