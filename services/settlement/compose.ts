import type { ConnectRouter } from "@connectrpc/connect";
import { z } from "zod";
import type { AnyContract } from "../core/settlement/terms/other-contracts.ts";
import type { PairId } from "../core/units.ts";
import type { Clock } from "../io/clock.ts";
import { openLedger } from "../io/ledger-open.ts";
import type { Log } from "../io/log.ts";
import type { Registry as Metrics } from "../io/metrics.ts";
import type { Registry } from "../io/registry.ts";
import type { SigningKey } from "../io/signing.ts";
import { BookMetrics } from "./book-metrics.ts";
import { followCancelTerms } from "./terms/cancel-terms.ts";
import { Closer } from "./statements/closer.ts";
import { SettlementMetrics } from "./metrics.ts";
import { openLogs, type WitnessListen } from "./logs/open-logs.ts";
import { sweepPackages } from "./packages/package-clock.ts";
import { servePackages } from "./packages/packages-rpc.ts";
import { openParts, type SettlementParts } from "./parts.ts";
import { openPlaces } from "./statements/places.ts";
import { serveQuota } from "./packages/quota-rpc.ts";
import { Quota } from "./packages/quota.ts";
import { serveSettlement } from "./rpc.ts";
import type { HttpWitness, Sealer } from "./logs/sealer.ts";
import { openSecrets, type EarlierKeyPaths } from "./secrets.ts";
import { sourcesOf } from "./statements/statement-sources.ts";
import { StatementSteps } from "./statements/statement-steps.ts";
import { Statements, type StatementSources } from "./statements/statements.ts";
import { serveTerms } from "./terms/terms-rpc.ts";
import { openTwoSides, type TwoSides } from "./claims/two-sides.ts";

export interface SettlementOptions extends EarlierKeyPaths {
  readonly registry: Registry;
  /** A file for SQLite, or `postgres://…`. */
  readonly ledger: string;
  /** Folder of what is the operator's alone: its signing key, the salt of leaves, what it witnessed. */
  readonly secretsPath: string;
  /** Of the operator: logs are named after it. */
  readonly domain: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Beside those that the ledger has; vendors without one have the house default. */
  readonly contracts?: readonly AnyContract[];
  /** Witnesses that are asked over HTTP, beside those who follow by RPC. */
  readonly witnesses?: readonly HttpWitness[] | undefined;
  /** Where the operator is a witness over HTTP, beside RPC. Undefined: nowhere. */
  readonly witnessListen?: WitnessListen | undefined;
}

export interface Settlement {
  /** All services of the role. */
  routes(router: ConnectRouter): void;
  /** Not while the ledger cannot be written, or a log is other than what was signed of it. */
  isReady(): boolean;
  /** What is in the way of being ready; undefined if nothing is. */
  whyNot(): string | undefined;
  /** Where the operator witnesses others' logs over HTTP; undefined: nowhere. */
  readonly witnessPort: number | undefined;
  /** Waits for what was accepted to be durable. */
  close(): Promise<void>;
}

/** Opens the ledger, learns what was agreed, posts what had waited for it, and signs the logs. */
export async function openSettlement(options: SettlementOptions): Promise<Settlement> {
  const { registry, log, clock, domain } = options;
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, options.signal]);
  const metrics = new SettlementMetrics(options.metrics);
  const secrets = await openSecrets(options.secretsPath, options);
  const {
    saltOf,
    keys: { current: key },
  } = secrets;
  const kid = kidOf(domain, key);
  const store = await openLedger(options.ledger);
  const operator = { ...key, kid };
  const parts = await openParts({ store, registry, metrics, clock, log, saltOf, operator });
  for (const contract of options.contracts ?? []) parts.agreements.addContract(contract);
  const { writer, nowUs, terms, packages } = parts;
  const sides = openTwoSides(parts, (party, name) => terms.state.keyOf(party, name));
  const bookMetrics = new BookMetrics(options.metrics, {
    disputes: () => sides.disputes(),
    slices: () => writer.holds.all().length,
  });
  writer.onCommitted((batch) => bookMetrics.onCommitted(batch));
  const logs = await openLogs(parts, {
    ...{ domain, secrets, metrics: options.metrics, signal },
    witnesses: options.witnesses ?? [],
    witnessListen: options.witnessListen,
  });
  await parts.start(signal);
  const { sealer } = logs;
  const quota = new Quota({
    ...{ store, writer, nowUs, holds: writer.holds, catalog: packages.catalog },
    onRefused: () => bookMetrics.onQuotaRefused(),
  });
  sweepPackages({ packages, quota, log, signal });
  sides.follow(signal);
  const sources = sourcesOf(parts, { sides, sealer, key, kid });
  const { statements, rpc } = await statementParts(parts, { sides, sources, ...options, signal });
  new Closer({ ...parts, statements }).follow(signal);
  const contractWith = (pair: PairId) => parts.agreements.contractWith(pair, nowUs());
  const telling = followCancelTerms(
    { registry, vendors: rpc.vendors, contractWith },
    { log, signal },
  );
  return {
    routes: (router) => {
      serveSettlement(router, { ...rpc, statements });
      serveTerms(router, { terms });
      servePackages(router, { packages, nowUs });
      serveQuota(router, { quota, nowUs });
      sides.routes(router);
      logs.routes(router);
    },
    witnessPort: logs.witnessPort,
    isReady: () => reasonAgainst(parts, sealer) === undefined,
    whyNot: () => reasonAgainst(parts, sealer),
    close: async () => {
      stop.abort();
      await telling;
      await logs.close();
      await parts.close();
    },
  };
}

/** Why this process must not be relied on; undefined if nothing is in the way. */
function reasonAgainst({ ingest }: SettlementParts, { refusals }: Sealer): string | undefined {
  const [first] = refusals;
  if (first === undefined) return ingest.isReady ? undefined : "the ledger cannot be written";
  return `nothing is signed for ${refusals.size} logs, such as ${first[0]}: ${first[1]}`;
}

/** Names the key in signatures: another key has another name. */
function kidOf(domain: string, { publicKey }: SigningKey): string {
  return `${domain}/operator/${publicKey.slice(0, 16)}`;
}

async function statementParts(
  parts: SettlementParts,
  given: Pick<SettlementOptions, "registry" | "domain" | "log" | "signal"> & {
    readonly sides: TwoSides;
    readonly sources: StatementSources;
  },
) {
  const { store, books, writer, nowUs, terms } = parts;
  const { registry, domain, log, signal, sides, sources } = given;
  const statements = new Statements({ ...parts, domain, sources });
  const steps = new StatementSteps({
    ...{ store, writer, nowUs },
    find: async (id) => statements.find(id),
    keyOf: (party, name) => terms.state.keyOf(party, name),
    disputedNano: async (id) => sides.disputedNano(id),
  });
  const vendors = async (): Promise<ReadonlySet<string>> =>
    new Set([...(await registeredVendors(registry)), ...books.vendors, ...(await store.vendors())]);
  const isKnown = async (pair: PairId): Promise<boolean> =>
    pair.startsWith("vendor:")
      ? (await vendors()).has(pair.slice("vendor:".length))
      : (await store.logs()).has(pair);
  const places = await openPlaces(registry, { log, signal });
  return { statements, rpc: { ...parts, statements, steps, places, vendors, isKnown } };
}

const ownerSchema = z.object({ vendorId: z.string().min(1) });

/** By name, and by the pools they have. */
async function registeredVendors(registry: Registry): Promise<string[]> {
  const named = await registry.list("vendor");
  const pools = await registry.list("pool");
  const owners = pools.map(({ value }) => ownerSchema.parse(JSON.parse(value)).vendorId);
  return [...named.map(({ key }) => key), ...owners];
}
