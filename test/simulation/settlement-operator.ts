import {
  ConnectError,
  createClient,
  createRouterTransport,
  type Transport,
} from "@connectrpc/connect";
import { fromBinary } from "@bufbuild/protobuf";
import { DatabaseSync } from "node:sqlite";
import { signDetached } from "../../services/core/settlement/proof/jws.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import { statementJwsType } from "../../services/core/settlement/statements/statement-check.ts";
import type { PairId } from "../../services/core/units.ts";
import { identityKey, localOperator } from "../../services/io/grpc-identity.ts";
import { openSqlLedger } from "../../services/io/ledger-sql.ts";
import { sqliteDriver } from "../../services/io/ledger-sqlite.ts";
import type { LedgerBatch, LedgerStore } from "../../services/io/ledger-store.ts";
import { openLog } from "../../services/io/log.ts";
import { Registry } from "../../services/io/metrics.ts";
import type { SignedHead, SignedHeads } from "../../services/io/signed-heads.ts";
import { sha256, type SigningKey } from "../../services/io/signing.ts";
import { ClosedPeriods } from "../../services/settlement/statements/closed-periods.ts";
import { Documents } from "../../services/settlement/documents.ts";
import { Gateways } from "../../services/settlement/ingest/gateways.ts";
import { Ingest } from "../../services/settlement/ingest/ingest.ts";
import { LedgerWriter } from "../../services/settlement/ingest/ledger-writer.ts";
import { LogKeys } from "../../services/settlement/logs/log-keys.ts";
import { serveLogs } from "../../services/settlement/logs/log-rpc.ts";
import { SettlementMetrics } from "../../services/settlement/metrics.ts";
import type { OperatorKeys } from "../../services/settlement/logs/open-sealed-log.ts";
import { Packages } from "../../services/settlement/packages/packages.ts";
import { Producers } from "../../services/settlement/ingest/producers.ts";
import { Quota } from "../../services/settlement/packages/quota.ts";
import { serveSettlement } from "../../services/settlement/rpc.ts";
import { SealerMetrics } from "../../services/settlement/logs/sealer-metrics.ts";
import { Sealer } from "../../services/settlement/logs/sealer.ts";
import { sourcesOf } from "../../services/settlement/statements/statement-sources.ts";
import { StatementSteps } from "../../services/settlement/statements/statement-steps.ts";
import { Statements } from "../../services/settlement/statements/statements.ts";
import { openTwoSides } from "../../services/settlement/claims/two-sides.ts";
import {
  RecordRequestSchema,
  UsageService,
} from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import type { SqlDriver, Work } from "../../services/io/sql-driver.ts";
import type { Traps } from "./settlement-crashes.ts";
import { isUnavailable } from "./settlement-network.ts";
import { agreementsOf, domain, vendors } from "./settlement-terms.ts";
import { never, Process, type Run } from "./settlement-time.ts";

export const silent = openLog({ role: "simulation", level: "silent" });

/** Everything that one process of settlement is made of. */
export type Settlement = Awaited<ReturnType<typeof openSettlement>>;

/** How often the ledger's own work is done, in ms. */
const everyMs = { seal: 2_000, sweep: 2_000, holes: 5_000, timers: 10_000 };

interface Means {
  readonly process: Process;
  readonly database: DatabaseSync;
  readonly keys: OperatorKeys;
  readonly heads: SignedHeads;
  readonly traps: Traps;
  readonly isKnown: (book: PriceBook) => boolean;
  /** The statement is signed in its own transaction, or later. */
  readonly signsAtOnce: () => boolean;
  readonly onCommitted: (batch: LedgerBatch, closed: ClosedPeriods) => void;
}

/** The role as its main program wires it, over a database that outlives it. */
async function openSettlement(means: Means) {
  const { process, keys, traps } = means;
  const nowUs = (): bigint => process.nowUs();
  const ledger = await openSqlLedger(mortal(sqliteDriver(means.database), process, traps));
  let closed: ClosedPeriods | undefined;
  const store = watched(ledger, means, () => closed);
  const log = silent;
  const writer = new LedgerWriter({ store, log });
  const documents = new Documents();
  const packages: Packages = new Packages({
    ...{ store, writer, holds: writer.holds, nowUs },
    bookingOf: (pair, us) => agreements.bookingOf(pair, us),
  });
  closed = await ClosedPeriods.load(store);
  const periods = closed;
  const agreements = agreementsOf(means.isKnown, {
    firstOpenOf: (pair) => periods.firstOpenOf(pair),
    packagesOf: (tenant, openedUs) => packages.catalog.valid(tenant, openedUs),
  });
  const registry = new Registry();
  const metrics = new SettlementMetrics(registry);
  const states = await store.producers();
  const producers = new Producers({
    ...{ states, clock: process, onLost: () => undefined },
  });
  const saltOf = (record: string): string => sha256(`salt of ${record}`);
  const ingest = new Ingest({ writer, terms: agreements, metrics, log, producers, saltOf, nowUs });
  const quota = new Quota({
    ...{ store, writer, nowUs, holds: writer.holds, catalog: packages.catalog },
  });
  const keyOf = (party: PairId | "internal", kid: string): string | undefined =>
    party === "internal" && kid === "operator"
      ? keys.current.publicKey
      : vendors.find(({ pair, id }) => pair === party && id === kid)?.key.publicKey;
  const parts = { store, writer, documents, agreements, closed, log, nowUs };
  const sides = openTwoSides(parts, keyOf);
  const logKeys = new LogKeys();
  await logKeys.load(store);
  for (const { pair, witness: key } of vendors) {
    const atUs = nowUs();
    await logKeys.trust(writer, { log: pair, role: "witness", key, isWithdrawn: false, atUs });
  }
  await writer.loadHolds();
  await packages.load();
  writer.onCommitted((batch) => packages.onCommitted(batch));
  await documents.follow(store, writer);
  const sealer = new Sealer({
    ...{ store, writer, domain, keys, logKeys, heads: means.heads, log, nowUs },
    metrics: new SealerMetrics(registry),
  });
  await sealer.openAll();
  if (sealer.rolledBack.length > 0) writer.halt("the logs are not what was signed");
  const gateways = new Gateways({ before: states.map(({ gateway }) => gateway), nowUs });
  const sources = sourcesOf(
    { agreements, store, closed, gateways, nowUs },
    { sides, sealer, key: keys.current, kid: "operator" },
  );
  const statements = new Statements({
    ...{ store, writer, closed, domain, metrics, log, nowUs },
    sources: {
      ...sources,
      sign: (payload) => (means.signsAtOnce() ? sources.sign(payload) : undefined),
    },
  });
  const steps = new StatementSteps({
    ...{ store, writer, keyOf, nowUs },
    find: async (id) => statements.find(id),
    disputedNano: async (id) => sides.disputedNano(id),
  });
  const { publicKey } = keys.current;
  const isKnown = async (pair: PairId) => (await store.logs()).has(pair);
  const places = { vendorOf: () => undefined, hubOf: () => undefined };
  const served = { store, ingest, gateways, statements, steps, closed, nowUs, isKnown, places };
  const transport: Transport = createRouterTransport(
    (router) => {
      serveSettlement(router, { ...served, vendors: async () => new Set<string>() });
      sides.routes(router);
      const witness = undefined;
      serveLogs(router, { store, writer, sealer, logKeys, witness, publicKey, domain, nowUs });
    },
    {
      router: {
        interceptors: [
          (next) => async (request) => {
            try {
              return await next(request);
            } catch (error) {
              // To a caller it would be an internal error without a reason.
              if (!(error instanceof ConnectError)) process.run.fail(error);
              throw error;
            }
          },
        ],
        requestGate: ({ values }) => {
          values.set(identityKey, localOperator);
        },
      },
    },
  );
  const usage = createClient(UsageService, transport);
  const record = async (request: Uint8Array) => {
    return (await usage.record(fromBinary(RecordRequestSchema, request))).results;
  };
  return {
    ...{ process, store, writer, ingest, agreements, packages, quota, sides, closed: periods },
    ...{ sealer, statements, steps, transport, record, keys },
  };
}

export function operatorSignature(key: SigningKey, payload: string): string {
  return signDetached(payload, { kid: "operator", typ: statementJwsType }, key.sign);
}

/** A database whose process may die between two statements of a transaction. */
function mortal(driver: SqlDriver, process: Process, traps: Traps): SqlDriver {
  return {
    ...driver,
    rowLock: driver.rowLock,
    ask: (...statements) => process.alive(async () => driver.ask(...statements)),
    hasTable: (name) => driver.hasTable(name),
    create: () => driver.create(),
    transaction: async <Result>(work: () => Work<Result>): Promise<Result> => {
      if (!process.isAlive) return never();
      return process.alive(async () =>
        driver.transaction(function* (): Work<Result> {
          const steps = work();
          let step = steps.next();
          while (step.done !== true) {
            const answers = yield step.value;
            if (step.value.length > 1 && traps.hit("C9")) {
              process.kill("half a transaction is written");
              throw new Error("the process is gone");
            }
            step = steps.next(answers);
          }
          return step.value;
        }),
      );
    },
    // The database is the disk: it stays.
    close: async () => undefined,
  };
}

/** Looks at each commit, and lets the process die around it. */
function watched(
  ledger: LedgerStore,
  { process, traps, onCommitted }: Means,
  closed: () => ClosedPeriods | undefined,
): LedgerStore {
  const commit = async (batch: LedgerBatch): Promise<void> => {
    const { run } = process;
    // Time passes, in which others come; now and then a disk takes long.
    await process.wait(run.isDrawn(0.03) ? run.between(200, 1_500) : run.between(1, 8));
    const kinds = new Set(batch.documents.map(({ kind }) => kind));
    if (kinds.has("dispute") && traps.hit("C15")) process.kill("a dispute is signed, not moved");
    if (kinds.has("statement") && traps.hit("C13")) process.kill("a statement is made, not kept");
    if (kinds.has("checkpoint") && run.isDrawn(0.5) && traps.hit("C11")) {
      process.kill("a checkpoint is not even kept");
    }
    if (!process.isAlive) return never();
    await ledger.commit(batch);
    const periods = closed();
    if (periods !== undefined) onCommitted(batch, periods);
    if (batch.posted.length > 0 && traps.hit("C8")) process.kill("records are kept, not confirmed");
    if (kinds.has("checkpoint") && traps.hit("C11"))
      process.kill("a checkpoint is kept, not signed");
    if (process.hasDied()) return never();
  };
  return new Proxy(ledger, {
    get: (target, name) => {
      if (name === "commit") return (batch: LedgerBatch) => process.alive(() => commit(batch));
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return async (...operands: unknown[]): Promise<unknown> =>
        process.alive(async () => value.apply(target, operands));
    },
  });
}

/** The operator's machine: its processes come and go, its database stays. */
export class Operator {
  readonly #run: Run;
  readonly #traps: Traps;
  readonly #onCommitted: Means["onCommitted"];
  database = newDatabase();
  current: Settlement | undefined;
  /** Behind a crash nothing is restarted before this is over. */
  keys: OperatorKeys;
  signsAtOnce = true;
  skewMs = 0;
  isKnown: (book: PriceBook) => boolean = () => true;
  #starting: Process | undefined;
  readonly #heads = new Map<string, SignedHead>();

  constructor(
    run: Run,
    options: {
      readonly traps: Traps;
      readonly keys: OperatorKeys;
      readonly onCommitted: Means["onCommitted"];
    },
  ) {
    this.#run = run;
    this.#traps = options.traps;
    this.#onCommitted = options.onCommitted;
    this.keys = options.keys;
  }

  /** Who listens, for the network. */
  readonly receiver = () => this.current && { process: this.current.process, served: this.current };

  readonly rpc = () =>
    this.current && { process: this.current.process, served: this.current.transport };

  async start(): Promise<void> {
    const process = new Process(this.#run, "settlement", this.skewMs);
    this.#starting = process;
    this.#run.note("settlement starts");
    const { keys, database } = this;
    const settlement = await process.alive(async () =>
      openSettlement({
        ...{ process, database, keys, traps: this.#traps, heads: this.#headsOf(process) },
        signsAtOnce: () => this.signsAtOnce,
        isKnown: (book) => this.isKnown(book),
        onCommitted: (batch, closed) => this.#onCommitted(batch, closed),
      }),
    );
    this.current = settlement;
    const { sealer, quota, packages, ingest, sides } = settlement;
    const often = (ms: number, work: () => Promise<unknown>): void => {
      process.every(() => ms, forgiving(work));
    };
    often(everyMs.seal, async () => {
      const sizes = [...(await settlement.store.logs())];
      const isDue = sizes.some(([log, size]) => size > (sealer.logs.get(log)?.latest?.size ?? 0n));
      if (isDue && this.#traps.hit("C10")) return process.kill("leaves have no checkpoint");
      await sealer.round();
    });
    often(everyMs.sweep, async () => {
      await quota.sweep();
      await packages.sweep();
    });
    often(everyMs.holes, async () => ingest.giveUpHoles());
    often(everyMs.timers, async () => sides.fireTimers());
    await forgiving(async () => {
      await ingest.release();
      await ingest.releaseSales();
    })();
  }

  /** Starts again whatever has died; called every so often. */
  async revive(): Promise<void> {
    if (this.current?.process.isAlive === true) return;
    if (this.#starting?.isAlive === true) return;
    await this.start();
  }

  /** Whether more was signed than logs of these sizes have. */
  isBeyond(sizes: ReadonlyMap<string, bigint>): boolean {
    return [...this.#heads.values()].some(({ log, size }) => size > (sizes.get(log) ?? 0n));
  }

  /** The file of what was signed, which no backup of the ledger has in it. */
  #headsOf(process: Process): SignedHeads {
    const kept = this.#heads;
    return {
      head: (log) => kept.get(log),
      logs: () => [...kept.keys()],
      keep: (heads) =>
        process.alive(async () => {
          for (const head of heads) kept.set(head.log, head);
        }),
      giveUp: () => Promise.reject(new Error("nobody gives up what was signed here")),
      close: async () => undefined,
    };
  }

  kill(why: string): void {
    this.#starting?.kill(why);
  }

  /** What the database holds now, for later. */
  backup(): Uint8Array {
    return this.database.serialize();
  }

  restore(bytes: Uint8Array): void {
    const database = newDatabase();
    database.deserialize(bytes);
    this.database = database;
  }
}

/** A ledger that was put back is not written: what would write it is tried again, and again. */
function forgiving(work: () => Promise<unknown>): () => Promise<void> {
  return async () => {
    await work().catch((error: unknown) => {
      if (!isUnavailable(error)) throw error;
    });
  };
}

function newDatabase(): DatabaseSync {
  return new DatabaseSync(":memory:", { readBigInts: true });
}
