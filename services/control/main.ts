import { mkdir } from "node:fs/promises";
import type { ConnectRouter } from "@connectrpc/connect";
import type { Registry as Metrics } from "prom-client";
import { Dispatcher } from "../core/dispatcher.ts";
import type { Effect, Event } from "../core/events.ts";
import type { Policy } from "../core/placement/policy.ts";
import type { Geography } from "../core/region.ts";
import type { Calendar } from "../core/settlement/pricing/price-book.ts";
import type { Instant, ReplicaId } from "../core/units.ts";
import { systemClock, type Clock } from "../io/clock.ts";
import type { HotMethod } from "../io/grpc-hot.ts";
import { openIdentities, type Identify } from "../io/grpc-identity.ts";
import { openJournalFile, type JournalFile, type JournalLimits } from "../io/journal-file.ts";
import { openLog, type Log } from "../io/log.ts";
import { openMetrics, serveMetrics } from "../io/metrics.ts";
import { loadCalendar, loadGeography } from "../io/preset.ts";
import { openSqliteRegistry } from "../io/registry-sqlite.ts";
import type { Registry } from "../io/registry.ts";
import { serveRpc } from "../io/rpc-server.ts";
import type { ControlConfig } from "./config.ts";
import { serveConsole } from "./console.ts";
import { DecisionLog } from "./decision-log.ts";
import { Decisions, type DecisionLimits } from "./decisions.ts";
import { Drains } from "./drain.ts";
import { inheritedAccounts, keepAccounts } from "./budget-file.ts";
import { openBudgetGauges } from "./budget-gauges.ts";
import { loop, type Step } from "./loop.ts";
import { ControlMetrics } from "./metrics.ts";
import { policyInForce } from "./policy-record.ts";
import { openPoolGauges } from "./pool-gauges.ts";
import { openRegistryFeed } from "./registry-feed.ts";
import { Regret } from "./regret.ts";
import type { Replica } from "./replica.ts";
import { hotMethods } from "./rpc-hot.ts";
import { routes } from "./rpc.ts";
import { inheritedUntil, markNoLeases, shareOfOnlyReplica } from "./shares.ts";

export { configSchema } from "./config.ts";

const tickMsDefault = 1_000;
const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

export interface Control {
  /** Pool, placement and policy services. */
  readonly routes: (router: ConnectRouter) => void;
  /** Place, PlaceStream and Report for the fast lane of the same server. */
  readonly hot: readonly HotMethod[];
  /** Who has which key, by the registry. */
  readonly identify: Identify;
  /** The registry is loaded, so answers are as good as they get. */
  readonly isReady: () => boolean;
  readonly close: () => Promise<void>;
}

export interface ControlOptions {
  readonly registry: Registry;
  readonly geography: Geography;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly replica: ReplicaId;
  readonly journalFolder: string;
  readonly journalLimits?: Partial<JournalLimits>;
  readonly decisionLimits?: Partial<DecisionLimits>;
  /**
   * Gateways live on when this process dies, so after a crash nothing is granted for one lease: what they hold is not
   * known. False, the default, for a process that is all there is.
   */
  readonly mayLeasesOutliveUs?: boolean;
  /** How often the replica is told that time has passed: leases expire and drains end by it. */
  readonly tickMs?: number;
  readonly signal: AbortSignal;
}

/** A control replica without its server: the registry is loaded when it resolves. */
export async function openControl(options: ControlOptions): Promise<Control> {
  const { registry, log, clock, signal, tickMs = tickMsDefault } = options;
  const stop = new AbortController();
  const until = AbortSignal.any([signal, stop.signal]);
  const identify = await openIdentities({ registry, log, signal: until });
  const policy = await policyInForce(registry, log);
  const grantsFrom = await grantsFromOf(options, policy);
  const machine = await openMachine(options, policy);
  const replica = await openReplica(options, machine, { grantsFrom, until });
  const timer = setInterval(() => {
    tick(replica, grantsFrom);
    judge(machine, replica);
  }, tickMs);
  const keeping = keepAccounts({
    folder: options.journalFolder,
    dispatcher: machine.dispatcher,
    log,
  });
  const close = async (): Promise<void> => {
    clearInterval(timer);
    stop.abort();
    await keeping.close();
    await machine.journal.close();
    if (machine.dispatcher.leases.length === 0) await markNoLeases(options.journalFolder);
  };
  let closing: Promise<void> | undefined;
  log.info({ pools: machine.dispatcher.pools.length, policy: policy.revision }, "control is open");
  return {
    routes: routes(replica),
    hot: hotMethods(replica),
    identify,
    isReady: () => !until.aborted && clock.now() >= grantsFrom,
    close: () => (closing ??= close()),
  };
}

/** The state machine with all that is told what it does. */
interface Machine {
  readonly dispatcher: Dispatcher;
  readonly step: Step;
  readonly journal: JournalFile;
  readonly decisions: Decisions;
  readonly metrics: ControlMetrics;
  readonly regret: Regret;
}

async function openMachine(options: ControlOptions, policy: Policy): Promise<Machine> {
  const { replica, geography, clock, journalFolder, log } = options;
  const dispatcher = new Dispatcher(replica, policy);
  const journal = await openJournalFile({
    folder: journalFolder,
    image: () => dispatcher.image(),
    log,
    limits: options.journalLimits ?? {},
  });
  const decisions = new Decisions(options.decisionLimits);
  const metrics = new ControlMetrics(options.metrics);
  const regret = new Regret(options.metrics);
  const note = (event: Event): void => {
    journal.note(event);
    if (event.kind === "lease-released") regret.released(event);
    if (event.kind !== "pool-registered") return;
    metrics.addPool(event.registration.id, event.registration.region);
  };
  const perform = (effect: Effect, event: Event): void => {
    metrics.count(effect, event);
    regret.note(effect);
    if (effect.kind === "answer") decisions.note(effect.decision);
  };
  const given = (effects: readonly Effect[]): void => journal.given(effects);
  const step = fatal(loop({ dispatcher, journal: { note, given }, perform }), log);
  openBudgetGauges({ registry: options.metrics, dispatcher, now: () => clock.now() });
  openPoolGauges({ registry: options.metrics, dispatcher, geography, now: () => clock.now() });
  step({ kind: "geography-set", at: clock.now(), geography });
  const accounts = await inheritedAccounts(journalFolder, log);
  if (accounts.length > 0) step({ kind: "budgets-inherited", at: clock.now(), accounts });
  return { dispatcher, step, journal, decisions, metrics, regret };
}

/** A failed assertion leaves a state that nobody can vouch for: the process ends, and is started again. */
function fatal(step: Step, log: Log): Step {
  return (event) => {
    try {
      return step(event);
    } catch (error) {
      log.fatal({ error, kind: event.kind }, "the state machine is broken");
      setImmediate(() => {
        throw error;
      });
      throw error;
    }
  };
}

async function openReplica(
  { registry, geography, clock, log }: ControlOptions,
  { dispatcher, step, journal, decisions, metrics }: Machine,
  { grantsFrom, until }: { readonly grantsFrom: Instant; readonly until: AbortSignal },
): Promise<Replica> {
  const drains = new Drains(dispatcher, step);
  const calendarOf = calendars();
  const feed = await openRegistryFeed({
    registry,
    step,
    clock,
    geography,
    calendarOf,
    share: () => (clock.now() >= grantsFrom ? shareOfOnlyReplica : 0),
    onStatus: (pool, status) => drains.learn(pool, status),
    onPolicy: (policy) => metrics.policyLoaded(policy !== undefined, clock.now()),
    log,
    signal: until,
  });
  return {
    dispatcher,
    step,
    clock,
    registry,
    feed,
    geography,
    calendarOf,
    decisions,
    decisionLog: new DecisionLog(journal),
    drains,
    joining: new Map(),
    metrics,
    log,
  };
}

function tick({ dispatcher, step, clock, drains }: Replica, grantsFrom: Instant): void {
  const at = clock.now();
  step({ kind: "time-passed", at });
  drains.tick(at);
  if (at < grantsFrom) return;
  for (const { id, share } of dispatcher.pools) {
    if (share !== shareOfOnlyReplica) {
      step({ kind: "share-set", at, pool: id, share: shareOfOnlyReplica });
    }
  }
}

/** Behind the work: what decisions of a while ago should have been. */
function judge({ dispatcher, regret }: Machine, { clock, geography }: Replica): void {
  const { pools, policy } = dispatcher;
  regret.tick(clock.now(), { pools, policy, geography });
}

async function grantsFromOf(
  { journalFolder, mayLeasesOutliveUs = false }: ControlOptions,
  policy: Policy,
): Promise<Instant> {
  const until = await inheritedUntil(journalFolder, policy.leaseMs);
  await mkdir(journalFolder, { recursive: true });
  return mayLeasesOutliveUs ? until : 0;
}

/** Calendars that are installed, by id: what a vendor names is looked up here and nowhere else. */
function calendars(): (id: string) => Calendar | undefined {
  const calendar = loadCalendar();
  const byId = new Map([[calendar.id, calendar]]);
  return (id) => byId.get(id);
}

/** Runs the role until the signal says stop. */
export async function start(config: ControlConfig, signal: AbortSignal): Promise<void> {
  const { registry: metrics, onLogMessage } = openMetrics("0.1.0");
  const log = openLog({ role: "control", level: config.logLevel, onMessage: onLogMessage });
  const registry = await openSqliteRegistry(config.registryPath);
  const control = await openControl({
    registry,
    geography: loadGeography(),
    log,
    metrics,
    clock: systemClock,
    replica: config.replica as ReplicaId,
    journalFolder: config.journalFolder,
    journalLimits: {
      keptBytesMax: config.journal.bytesMax,
      keptMsMax: config.journal.daysMax * dayMs,
    },
    decisionLimits: {
      decisionsMax: config.decisions.countMax,
      ageMsMax: config.decisions.minutesMax * minuteMs,
      perSecondMax: config.decisions.perSecondMax,
    },
    mayLeasesOutliveUs: true,
    signal,
  });
  const { isReady } = control;
  const server = await serveRpc({ ...config.rpc, ...control, signal, log });
  await serveMetrics({ ...config.metrics, registry: metrics, isReady, signal });
  await serveConsole({ ...config.console, routes: control.routes, log, signal });
  log.info({ host: config.rpc.host, port: server.port }, "control listens");
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
  await server.close();
  await control.close();
  await registry.close();
}
