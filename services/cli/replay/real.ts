import { randomBytes } from "node:crypto";
import { basename } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Policy } from "../../core/placement/policy.ts";
import { parsePolicy } from "../../io/policy-file.ts";
import { type Report, ReportBuilder } from "../../core/report.ts";
import type { Arrival } from "../../core/workload.ts";
import { arrivalsOf, type TraceOptions } from "../../sim/main.ts";
import { type Pool, PoolService } from "../../wire/gen/tokengrid/v1/pool_pb.js";
import { PolicyService } from "../../wire/gen/tokengrid/v1/policy_pb.js";
import { SettlementService } from "../../wire/gen/tokengrid/v1/settlement_pb.js";
import { UsageService } from "../../wire/gen/tokengrid/v1/usage_pb.js";
import { answered, client, type ServerOptions } from "../connect.ts";
import { Failure } from "../outcome.ts";
import { type NamedPeriod, parsePeriod } from "../period.ts";
import { closed, ledgered } from "./books.ts";
import { drive, type DriveResult } from "./drive.ts";
import { sitesOf } from "./fleet.ts";
import { openProgress } from "./progress.ts";
import { openAgent, requestId, send, type Target } from "./send.ts";
import { type Survey, surveyed } from "./survey.ts";

export interface RealOptions {
  readonly trace: TraceOptions;
  readonly speed: number;
  readonly inFlightMax: number;
  readonly target: Omit<Target, "runId">;
  readonly server: ServerOptions;
  /** How long the ledger may take after the last answer. */
  readonly patienceMs: number;
  /** Aborted: no more is sent, what is open may end within `graceMs`, and the report is made of it. */
  readonly stop: AbortSignal;
  readonly graceMs: number;
}

export interface RealResult {
  readonly report: Report;
  /** Requests that were answered in full and that the ledger does not have. */
  readonly missing: readonly string[];
}

/** Sends a recorded workload through a running gateway and reports from its ledger. */
export async function replayReal(options: RealOptions): Promise<RealResult> {
  const { trace, speed, server } = options;
  const runId = `replay-${randomBytes(6).toString("hex")}`;
  const survey = await surveyed(trace);
  const [policy, before] = await answered(server, () =>
    Promise.all([policyInForce(server), poolsOf(server)]),
  );
  const builder = new ReportBuilder(policy.objectives);
  const startedMs = Date.now();
  const { drove, okRequests } = await sent(options, { runId, survey, builder });
  const { attempts, missing } = await ledgered({
    usages: client(UsageService, server),
    runId,
    fromUs: BigInt(startedMs - clockSlackMs) * 1_000n,
    answered: okRequests,
    patienceMs: options.patienceMs,
  });
  for (const attempt of attempts) builder.addAttempt(attempt);
  const statements = await closed({
    settlement: client(SettlementService, server),
    vendors: [...new Set(before.map(({ registration }) => registration?.vendorId ?? ""))].sort(),
    days: daysBetween(startedMs, Date.now()),
  });
  const { path, seed, class: serviceClass } = trace;
  const report = builder.build({
    run: { id: runId, mode: "real", trace: basename(path), speed, seed, class: serviceClass },
    isEndedEarly: drove.isEndedEarly,
    traceMs: drove.traceMs,
    elapsedMs: drove.endedAt - drove.startedAt,
    sites: sitesOf(before, await poolsOf(server)),
    statements,
  });
  return { report, missing };
}

/** Between our clock and the gateway's. */
const clockSlackMs = 60_000;

async function sent(
  options: RealOptions,
  run: { readonly runId: string; readonly survey: Survey; readonly builder: ReportBuilder },
): Promise<{ readonly drove: DriveResult; readonly okRequests: ReadonlySet<string> }> {
  const { trace, speed, inFlightMax, stop, graceMs } = options;
  const { runId, survey, builder } = run;
  const target = { ...options.target, runId };
  const okRequests = new Set<string>();
  const agent = openAgent();
  const cut = new AbortController();
  const cutLater = () => setTimeout(() => cut.abort(), graceMs).unref();
  stop.addEventListener("abort", cutLater, { once: true });
  const startedAt = performance.now();
  const etaMs = () => Math.max(0, startedAt + survey.spanMs / speed - performance.now());
  const progress = openProgress({ total: survey.requests, etaMs });
  const onGap = (itlMs: number) => builder.addGap(itlMs);
  try {
    const drove = await drive({
      arrivals: arrivalsOf(trace),
      speed,
      inFlightMax,
      stop,
      send: (arrival: Arrival) => send(arrival, { target, agent, signal: cut.signal, onGap }),
      onAnswer: (answer, { index }) => {
        builder.addAnswer(answer);
        progress.answered(answer.outcome === "ok");
        if (answer.outcome === "ok") okRequests.add(requestId(runId, index));
      },
    });
    return { drove, okRequests };
  } finally {
    progress.stop();
    stop.removeEventListener("abort", cutLater);
    await agent.close();
  }
}

/** A pool whose meter could not be read in time says nothing of its energy once; soon it does again. */
async function poolsOf(server: ServerOptions): Promise<Pool[]> {
  for (let looks = 1; ; looks++) {
    const { pools } = await client(PoolService, server).list({});
    const isWhole = pools.every(({ energyJoulesTotal }) => energyJoulesTotal !== undefined);
    if (isWhole || looks >= looksMax) return pools;
    await pause(betweenLooksMs);
  }
}

const looksMax = 10;
const betweenLooksMs = 500;

async function policyInForce(server: ServerOptions): Promise<Policy> {
  const { policy } = await client(PolicyService, server).get({ revision: 0n });
  const parsed = parsePolicy(policy?.yaml ?? "", Number(policy?.revision ?? 0n));
  if ("policy" in parsed) return parsed.policy;
  const [first] = parsed.mistakes;
  throw new Failure(`the policy in force cannot be read: ${first?.path}: ${first?.message}`);
}

/** The operator's days that a run touched: one, or two around midnight. */
function daysBetween(fromMs: number, toMs: number): NamedPeriod[] {
  const days = [fromMs, toMs]
    .map((ms) => parsePeriod("today", ms))
    .filter((day) => typeof day !== "string");
  return days.filter((day, index) => index === 0 || day.name !== days[0]?.name);
}
