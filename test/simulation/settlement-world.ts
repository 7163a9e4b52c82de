import {
  balanceText,
  noBalance,
  payableAccount,
} from "../../services/core/settlement/ledger/ledger.ts";
import { nameOfPeriod, type Period } from "../../services/core/settlement/statements/period.ts";
import type { Statement } from "../../services/core/settlement/statements/statement.ts";
import type { PairId } from "../../services/core/units.ts";
import { Registry } from "../../services/io/metrics.ts";
import { sha256 } from "../../services/io/signing.ts";
import type { LedgerStore } from "../../services/io/ledger-store.ts";
import { fromRecordText } from "../../services/core/settlement/counting/record-text.ts";
import { Ingest } from "../../services/settlement/ingest/ingest.ts";
import { LedgerWriter } from "../../services/settlement/ingest/ledger-writer.ts";
import { SettlementMetrics } from "../../services/settlement/metrics.ts";
import { Producers } from "../../services/settlement/ingest/producers.ts";
import {
  checkConvergence,
  checkLedger,
  checkLogs,
  checkPackages,
  checkStatements,
} from "./settlement-checks.ts";
import { Clerk } from "./settlement-clerk.ts";
import { crashNames, Traps, type CrashPoint } from "./settlement-crashes.ts";
import { Gateway, type Surroundings, type Truth } from "./settlement-gateway.ts";
import { CommitWatch } from "./settlement-invariants.ts";
import { checkEnd } from "./settlement-liveness.ts";
import { Network } from "./settlement-network.ts";
import { Operator, silent } from "./settlement-operator.ts";
import { agreementsOf, days, operatorKeys, pairs, rootKey, vendors } from "./settlement-terms.ts";
import { Run } from "./settlement-time.ts";
import { Vendor } from "./settlement-vendor.ts";

export interface Simulated {
  /** Of all events, in order. */
  readonly digest: string;
  readonly happened: ReadonlySet<CrashPoint>;
  readonly attempts: number;
  readonly commits: number;
}

/** Faults that are not crashes at a point of the code, by second of a stormy phase. */
type Fault = (world: World) => void | Promise<void>;

const hourMs = 3_600_000;
const stormMs = 18_000;
const calmMs = 12_000;

/** Three days of a small grid, and everything that can go wrong in them, drawn from the seed. */
export async function simulate(seed: number): Promise<Simulated> {
  const world = new World(seed);
  await world.live();
  const { run, traps, watch, truths } = world;
  return {
    digest: run.digest,
    happened: traps.happened,
    attempts: truths.size,
    commits: watch.commits,
  };
}

export class World {
  readonly run: Run;
  readonly traps: Traps;
  readonly network: Network;
  readonly operator: Operator;
  readonly gateways: readonly Gateway[];
  readonly vendors: readonly Vendor[];
  readonly truths = new Map<string, Truth>();
  readonly watch: CommitWatch;
  readonly clerk: Clerk;
  readonly hasTwoWinners: boolean;
  readonly #chosen: ReadonlySet<CrashPoint>;
  #backup:
    { readonly bytes: Uint8Array; readonly books: ReturnType<CommitWatch["copy"]> } | undefined;
  readonly #disputes: { readonly id: string; readonly pair: PairId }[] = [];
  #requests = 0;
  #isNight = false;
  /** A machine that nobody hears of until the next day: what it has comes after its day was closed. */
  #away: string | undefined;

  constructor(seed: number) {
    const run = new Run(seed, Number((days[0]?.toUs ?? 0n) / 1_000n) - 9_000);
    this.run = run;
    this.traps = new Traps(run);
    this.network = new Network(run, this.traps);
    this.watch = new CommitWatch(run, this.truths);
    const [first] = operatorKeys;
    if (first === undefined) throw new Error("expected a key of the operator, found none");
    const { traps } = this;
    const { onCommitted } = this.watch;
    this.operator = new Operator(run, {
      traps,
      keys: { current: first, root: rootKey },
      onCommitted,
    });
    this.hasTwoWinners = run.isDrawn(0.1);
    const { network, operator, truths, watch, hasTwoWinners } = this;
    const around: Surroundings = { run, traps, network, operator, truths, watch, hasTwoWinners };
    // Now and then a third machine comes up with the name of the first.
    const names = run.isDrawn(0.3) ? ["g1", "g2", "g1"] : ["g1", "g2"];
    this.gateways = names.map((id, place) => new Gateway(around, id, `m${place + 1}`));
    this.vendors = vendors.map((terms) => new Vendor(around, terms));
    for (const vendor of this.vendors) {
      vendor.habit = run.one(["honest", "honest", "over", "silent", "slow"]);
    }
    this.clerk = new Clerk(around);
    const always = crashNames[seed % crashNames.length];
    this.#chosen = new Set(crashNames.filter((each) => each === always || run.isDrawn(0.15)));
  }

  async live(): Promise<void> {
    await this.#begin();
    const learnt = this.run.isDrawn(0.3);
    // Settlement hears of the new prices later than the gateways.
    if (learnt) this.operator.isKnown = ({ version }) => version === 1n;
    if (this.run.isDrawn(0.3)) {
      this.#away = this.run.one(this.gateways).name;
      this.network.cut.add(this.#away);
    }
    await this.#storm([...this.#faults(), (world) => world.#takeBackup()]);
    await this.#calm(calmMs);
    if (this.#chosen.has("C19")) await this.#restoreOldBackup();
    // Days are closed an hour after their end, whoever is behind.
    await this.#night(1, 1.2);
    const first = await this.#closeAll(days[0]);
    await this.#dispute(first);
    this.operator.isKnown = () => true;
    await this.#release();
    await this.#check();
    await this.#night(1, 12);
    this.#away = undefined;
    this.network.cut.clear();
    await this.#storm(this.#faults());
    await this.#late();
    await this.#calm(calmMs);
    await this.#night(2, 1.2);
    await this.#calm(calmMs);
    const second = await this.#closeAll(days[1]);
    await this.#release();
    await this.#finish([...first, ...second]);
  }

  async #begin(): Promise<void> {
    await this.run.during(this.operator.start(), 10_000);
    await this.run.during(this.clerk.sellPackages(), 10_000);
    this.#startOthers();
    await this.run.forMs(100);
  }

  #startOthers(): void {
    for (const gateway of this.gateways) this.run.spawn(async () => gateway.start());
    for (const vendor of this.vendors) vendor.start();
  }

  /** Requests come, and faults with them. */
  async #storm(faults: readonly Fault[]): Promise<void> {
    const { run, network, traps } = this;
    const weather = (most: number): number => (run.isDrawn(0.5) ? most * run.random() : 0);
    network.weather = {
      ...{
        lost: weather(0.3),
        doubled: weather(0.3),
        late: weather(0.2),
        answerLost: weather(0.3),
      },
    };
    this.#setTraps();
    for (const vendor of this.vendors) vendor.slowness = 1;
    const end = run.now + stormMs;
    for (const fault of faults) {
      run.timeline.after(run.between(1_000, stormMs - 3_000), () =>
        run.spawn(async () => fault(this)),
      );
    }
    this.#arrive(end);
    this.#revive(end);
    await run.until(end);
    traps.clear();
  }

  #arrive(end: number): void {
    const { run } = this;
    run.timeline.after(run.between(200, 1_500), () => {
      if (run.now >= end) return;
      this.#requests += 1;
      run.one(this.gateways).serve(this.#requests);
      this.#arrive(end);
    });
  }

  /** Whatever has died is started again a while later. */
  #revive(end: number): void {
    const { run } = this;
    run.timeline.after(run.between(500, 3_000), () => {
      this.#reviveNow();
      if (run.now < end) this.#revive(end);
    });
  }

  #reviveNow(): void {
    const { run } = this;
    if (this.#isNight) return;
    run.spawn(async () => this.operator.revive());
    for (const gateway of this.gateways) run.spawn(async () => gateway.revive());
    for (const vendor of this.vendors) vendor.revive();
  }

  #setTraps(): void {
    const { run, traps } = this;
    for (const point of this.#chosen) traps.set(point, run.between(0, 4));
  }

  #faults(): Fault[] {
    const { run } = this;
    const has = (point: CrashPoint): boolean => this.#chosen.has(point);
    const gateway = (world: World): Gateway => run.one(world.gateways);
    const faults: Fault[] = [];
    if (has("C16")) {
      faults.push((world) => {
        this.traps.mark("C16");
        gateway(world).forgetSlices();
      });
    }
    if (has("C17")) faults.push((world) => world.#jump());
    if (has("C18")) faults.push((world) => world.#failDisk(gateway(world)));
    if (has("C20")) faults.push((world) => world.#rotate());
    if (has("C7")) faults.push((world) => world.network.forget());
    if (run.isDrawn(0.3)) faults.push((world) => world.#cut(gateway(world).name));
    if (run.isDrawn(0.3)) faults.push((world) => world.#cut("settlement"));
    if (run.isDrawn(0.3)) faults.push((world) => world.network.storm());
    if (run.isDrawn(0.3)) faults.push((world) => world.#silence());
    if (run.isDrawn(0.5)) faults.push((world) => world.#disturb());
    return faults;
  }

  /** A clock is off by an hour after a restart. */
  #jump(): void {
    const { run } = this;
    this.traps.mark("C17");
    const skewMs = run.one([hourMs, -hourMs]);
    const target = run.one([...this.gateways, this.operator]);
    run.note(`a clock jumps by ${skewMs}`);
    target.skewMs = skewMs;
    target.kill("its clock jumps");
  }

  #failDisk(gateway: Gateway): void {
    const { run } = this;
    this.traps.mark("C18");
    if (run.isDrawn(0.5)) {
      gateway.disk.syncFailures = 1;
      return;
    }
    gateway.disk.isFull = true;
    run.timeline.after(run.between(2_000, 10_000), () => {
      gateway.disk.isFull = false;
    });
  }

  /** The next key signs; the old one says so, or is lost and the root key does. */
  #rotate(): void {
    const { run } = this;
    const { current } = this.operator.keys;
    const next = operatorKeys[operatorKeys.indexOf(current) + 1];
    if (next === undefined) return;
    this.traps.mark("C20");
    const isLost = run.isDrawn(0.5);
    this.operator.keys = { current: next, root: rootKey, ...(isLost ? {} : { previous: current }) };
    this.operator.kill("its key is replaced");
    for (const vendor of this.vendors) {
      vendor.keysKnown += 1;
      vendor.start();
    }
  }

  #cut(name: string): void {
    const { run, network } = this;
    network.cut.add(name);
    run.timeline.after(run.between(2_000, 20_000), () => network.cut.delete(name));
  }

  #silence(): void {
    const vendor = this.run.one(this.vendors);
    vendor.isWitnessing = false;
    this.run.timeline.after(this.run.between(2_000, 20_000), () => {
      vendor.isWitnessing = true;
    });
  }

  /** A record is forged, another is corrected. */
  async #disturb(): Promise<void> {
    const { run } = this;
    const posted = this.#posted();
    if (posted.length === 0) return;
    await this.clerk.forge(run.one(posted));
    await this.clerk.correct(run.one(posted));
  }

  #posted(): Truth[] {
    return [...this.truths.values()].filter(
      ({ closed }) =>
        closed !== undefined &&
        this.watch.isPosted(closed.id) &&
        !this.watch.isPosted(`${closed.attempt}:1`),
    );
  }

  #takeBackup(): void {
    if (this.operator.current === undefined) return;
    this.#backup = { bytes: this.operator.backup(), books: this.watch.copy() };
    this.run.note("a backup is taken");
  }

  /** Nothing fails any more; what is owed to anybody comes in. */
  async #calm(ms: number, slowness = 3): Promise<void> {
    const { run, network } = this;
    network.weather = { lost: 0, doubled: 0, late: 0, answerLost: 0 };
    network.cut.clear();
    if (this.#away !== undefined) network.cut.add(this.#away);
    for (const gateway of this.gateways) {
      gateway.disk.isFull = false;
      gateway.disk.syncFailures = 0;
      gateway.skewMs = 0;
    }
    for (const vendor of this.vendors) [vendor.isWitnessing, vendor.slowness] = [true, slowness];
    // A clock that is back in time is seen at the next start.
    if (this.operator.skewMs !== 0) {
      this.operator.skewMs = 0;
      this.operator.kill("its clock is put right");
    }
    const end = run.now + ms;
    while (run.now < end) {
      this.#reviveNow();
      await run.until(Math.min(end, run.now + 5_000));
    }
  }

  /** Everybody sleeps until so many hours of a day. */
  async #night(day: number, hours: number): Promise<void> {
    const { run } = this;
    this.#isNight = true;
    this.operator.kill("it is night");
    for (const gateway of this.gateways) gateway.kill("it is night");
    for (const vendor of this.vendors) vendor.sleep();
    const morning = Number((days[day]?.fromUs ?? 0n) / 1_000n) + hours * hourMs;
    await run.until(morning);
    this.#isNight = false;
    await run.during(this.operator.start(), 60_000);
    this.#startOthers();
    await run.forMs(5_000);
  }

  async #closeAll(day: Period | undefined) {
    if (day === undefined) throw new Error("expected a day to close, found none");
    const { run, operator } = this;
    operator.signsAtOnce = !this.#chosen.has("C13");
    if (this.#chosen.has("C13")) this.traps.set("C13", run.between(0, 3));
    if (this.#chosen.has("C14")) this.traps.set("C14", run.between(0, 3));
    const closing = async () => {
      const statements = [];
      const logs = (await operator.current?.store.logs()) ?? new Map<PairId, bigint>();
      for (const pair of pairs.filter((each) => logs.has(each))) {
        statements.push(await this.clerk.close(pair, day));
      }
      for (const statement of statements) await this.clerk.sign(statement, operator.keys.current);
      return statements;
    };
    const end = run.now + 120_000;
    this.#revive(end);
    return run.during(closing(), 120_000);
  }

  async #dispute(statements: readonly Statement[]): Promise<void> {
    const { run, operator } = this;
    if (this.#chosen.has("C15")) this.traps.set("C15", run.between(0, 1));
    const payable = statements.filter(
      ({ pair, totals }) => pair.startsWith("vendor:") && totals.netNano >= 10_000_000n,
    );
    this.#revive(run.now + 60_000);
    for (const statement of payable) {
      if (!this.#chosen.has("C15") && run.isDrawn(0.5)) continue;
      const { pair } = statement;
      const pool = statement.lines[0]?.pool ?? "";
      const id = `d-${nameOfPeriod(statement.period)}-${pair.replace(":", "-")}`;
      this.#disputes.push({ id, pair });
      const items = [{ account: `exp:cogs:pool:${pool}`, amountNano: 3_000n }];
      const claim = {
        id,
        pair,
        statement: statement.id,
        opener: "operator",
        reason: "QTY_OUTPUT",
        items,
      } as const;
      const step = { to: "opened", claim } as const;
      const made = { operator: operator.keys.current } as const;
      await run.during(this.clerk.move(id, pair, { ...made, by: "operator", step }), 60_000);
      if (run.isDrawn(0.5)) continue;
      const acknowledged = { ...made, by: "counterparty", step: { to: "acknowledged" } } as const;
      await run.during(this.clerk.move(id, pair, acknowledged), 60_000);
    }
  }

  /** Corrections after the day was closed. */
  async #late(): Promise<void> {
    const { run } = this;
    this.#revive(run.now + 60_000);
    const old = this.#posted().filter(({ openedUs }) => openedUs < (days[0]?.toUs ?? 0n));
    for (const truth of old.slice(0, 2)) await run.during(this.clerk.correct(truth), 60_000);
  }

  async #release(): Promise<void> {
    const { current } = this.operator;
    if (current === undefined) return;
    await this.run.during(current.ingest.release(), 10_000);
    await this.run.during(current.ingest.releaseSales(), 10_000);
  }

  async #restoreOldBackup(): Promise<void> {
    const { run, operator, watch } = this;
    if (this.#backup === undefined) return;
    // Of a backup that has all that was signed nobody can say that it is old.
    if (!operator.isBeyond(this.#backup.books.sizes)) return;
    this.traps.mark("C19");
    const newest = operator.database;
    const { bytes, books } = this.#backup;
    operator.kill("its disk is lost");
    operator.restore(bytes);
    watch.restore(books);
    const seen = await Promise.all(
      this.vendors.map(async (vendor) => ({ vendor, head: await vendor.head() })),
    );
    const had = books.sizes;
    await run.during(operator.start(), 10_000);
    await run.forMs(12_000);
    for (const { vendor, head } of seen) {
      const { pair } = vendor.terms;
      const size = had.get(pair) ?? 0n;
      const sealed = operator.current?.sealer.logs.get(pair);
      if (head === undefined || head.size <= size || sealed === undefined) continue;
      const isRefused = sealed.refusal !== undefined;
      run.expect(isRefused, "C19", () => `${pair} has ${size} leaves, its witness ${head.size}`);
      const signed = sealed.latest?.size ?? 0n;
      run.expect(signed <= size, "C19", () => `${pair} was signed with ${signed} leaves`);
    }
    operator.kill("the newest database is found");
    operator.database = newest;
    watch.takeBack();
    await run.during(operator.start(), 10_000);
    await run.forMs(10_000);
  }

  async #check(): Promise<void> {
    const { current } = this.operator;
    if (current?.process.isAlive !== true) return;
    const { run, watch } = this;
    await run.during(checkLedger(run, current.store, watch), 10_000);
    await run.during(checkLogs(run, current.store, watch), 10_000);
    await run.during(checkPackages(run, current), 10_000);
  }

  async #finish(statements: readonly Statement[]): Promise<void> {
    const { run, operator } = this;
    await this.#check();
    const { current } = operator;
    if (current === undefined) throw new Error("expected settlement to run, found none");
    await run.during(checkStatements(run, current), 10_000);
    // Witnesses see the leaves of the last statements too, and nobody claims anything more.
    for (const vendor of this.vendors) vendor.habit = "silent";
    await this.#calm(2 * calmMs, 1);
    await run.during(checkEnd(this, current), 10_000);
    const { hasTwoWinners } = this;
    await checkConvergence(run, current.store, { post: postAgain, hasTwoWinners });
    await this.#settleDisputes(statements);
    await this.#check();
    await run.forMs(1);
  }

  /** A silent party loses after its days, once; then all that is not disputed any more is paid. */
  async #settleDisputes(statements: readonly Statement[]): Promise<void> {
    const { run, clerk, operator } = this;
    await this.#night(2, 1.2 + 24 * 40);
    // Timers of disputes are looked at every so often.
    await run.forMs(12_000);
    for (const { id, pair } of this.#disputes) {
      const made = { operator: operator.keys.current, by: "operator" } as const;
      const state = await run.during(
        clerk.move(id, pair, { ...made, step: { to: "settled" } }),
        60_000,
      );
      run.expect(state === "settled", "I30", () => `${id} is ${state}`);
    }
    for (const statement of statements) await run.during(clerk.pay(statement), 60_000);
    const balances = await operator.current?.store.balances();
    for (const pair of pairs.filter((each) => !each.startsWith("tenant:"))) {
      for (const state of ["stated", "disputed", "approved"] as const) {
        const key = balanceText({ unit: "CNY:nano", account: payableAccount(pair, state) });
        const { debit, credit } = balances?.get(key) ?? noBalance;
        run.expect(debit === credit, "I7 I31", () => `${pair} has ${credit - debit} ${state}`);
      }
    }
  }
}

/** Settlement without crashes, time or packages: what prices owe depends on the records alone. */
async function postAgain(store: LedgerStore, texts: readonly string[]): Promise<void> {
  const writer = new LedgerWriter({ store, log: silent });
  const clock = { now: () => 0 };
  const ingest = new Ingest({
    ...{ writer, terms: agreementsOf(() => true, {}), log: silent, saltOf: sha256 },
    metrics: new SettlementMetrics(new Registry()),
    producers: new Producers({ states: [], clock, onLost: () => undefined }),
  });
  await ingest.record(texts.map(fromRecordText));
}
