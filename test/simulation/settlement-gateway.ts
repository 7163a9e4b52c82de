import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type {
  AttemptId,
  GatewayId,
  ModelId,
  RegionId,
  RequestId,
} from "../../services/core/units.ts";
import { QuotaKeeper, type Reservation, type SliceSource } from "../../services/gateway/quota.ts";
import { usedBy } from "../../services/gateway/reserve.ts";
import { shipUsage } from "../../services/gateway/ship.ts";
import { MeteringError, openSpool, type Spool } from "../../services/gateway/spool.ts";
import { recordRequest, type SendRecords } from "../../services/gateway/usage-sender.ts";
import { usageRecord } from "../core/settlement/fixtures.ts";
import type { Traps } from "./settlement-crashes.ts";
import { VirtualDisk } from "./settlement-disk.ts";
import type { CommitWatch } from "./settlement-invariants.ts";
import type { Network } from "./settlement-network.ts";
import { silent, type Operator } from "./settlement-operator.ts";
import { bookOf, tenants, vendors, type Tenant, type VendorTerms } from "./settlement-terms.ts";
import { Process, type Run } from "./settlement-time.ts";

const model = "qwen3-32b" as ModelId;
const region = "zhongwei" as RegionId;

/** What really happened to an attempt, whoever remembers it. */
export interface Truth {
  readonly attempt: AttemptId;
  readonly request: RequestId;
  readonly tenant: Tenant;
  readonly vendor: VendorTerms;
  readonly input: bigint;
  readonly cacheRead: bigint;
  /** As the gateway's clock had it. */
  openedUs: bigint;
  draft: UsageRecord | undefined;
  /** The spool said that the attempt was safe. */
  isOpened: boolean;
  isDispatched: boolean;
  /** Made by the engine, and taken by the client. */
  output: bigint;
  delivered: bigint;
  /** The spool said that this record was safe. */
  closed: UsageRecord | undefined;
  /** Nobody works on it any more. */
  isOver: boolean;
}

/** What all gateways share. */
export interface Surroundings {
  readonly run: Run;
  readonly traps: Traps;
  readonly network: Network;
  readonly operator: Operator;
  readonly truths: Map<string, Truth>;
  readonly watch: CommitWatch;
  /** A defect of gateways: both attempts of a hedge serve the client. */
  readonly hasTwoWinners: boolean;
}

interface Living {
  readonly process: Process;
  readonly spool: Spool;
  readonly keeper: QuotaKeeper;
}

type End = "complete" | "client-cancel" | "upstream-error" | "upstream-cut" | "hedge-lost";

/** A machine with a disk, on which one gateway after the other runs. */
export class Gateway {
  readonly id: GatewayId;
  readonly name: string;
  readonly disk: VirtualDisk;
  readonly #around: Surroundings;
  #living: Living | undefined;
  #starting: Process | undefined;
  #asks = 0;
  skewMs = 0;

  constructor(around: Surroundings, id: string, name: string) {
    this.id = id as GatewayId;
    this.name = name;
    this.disk = new VirtualDisk(around.run);
    this.#around = around;
  }

  get isEmpty(): boolean {
    const spool = this.#living?.spool;
    return spool?.unacknowledged.records === 0 && spool.openAttempts === 0;
  }

  get unacknowledged(): number {
    return this.#living?.spool.unacknowledged.records ?? 0;
  }

  async start(): Promise<void> {
    const { run } = this.#around;
    const process = new Process(run, this.name, this.skewMs);
    this.#starting = process;
    run.note(`${this.name} starts`);
    const spool = await this.#openSpool(process);
    if (spool === undefined) return this.kill("its disk fails at start");

    const keeper = new QuotaKeeper({ source: this.#source(process), clock: process, log: silent });
    this.#living = { process, spool, keeper };
    const { signal } = process.stop;
    run.spawn(async () => {
      await shipUsage({ spool, send: this.#send(process), log: silent, signal, timers: process });
    });
    process.every(
      () => 5_000,
      async () => keeper.tick(),
    );
  }

  async #openSpool(process: Process): Promise<Spool | undefined> {
    try {
      return await openSpool({
        ...{ folder: "spool", gatewayId: this.id, disk: this.disk.of(process), clock: process },
        limits: { bytesMax: 64 * 1_024, segmentBytesMax: 4 * 1_024 },
        ...{ timers: process, log: silent, onFsync: () => undefined },
      });
    } catch (error) {
      if (isSegments(error)) return undefined;
      throw error;
    }
  }

  async revive(): Promise<void> {
    if (this.#starting?.isAlive !== true) await this.start();
  }

  kill(why: string): void {
    const process = this.#starting;
    if (process?.isAlive !== true) return;
    process.kill(why);
    this.disk.crash();
    for (const truth of this.#around.truths.values()) {
      if (truth.attempt.startsWith(`${this.name}-`)) truth.isOver = true;
    }
  }

  /** The cache of slices is lost, as with a failover that forgets. */
  forgetSlices(): void {
    const living = this.#living;
    if (living === undefined) return;
    const { process } = living;
    const keeper = new QuotaKeeper({ source: this.#source(process), clock: process, log: silent });
    this.#living = { ...living, keeper };
    process.every(
      () => 5_000,
      async () => keeper.tick(),
    );
  }

  /** A request comes in; now and then it is sent to two pools. */
  serve(number: number): void {
    const living = this.#living;
    const { run, traps } = this.#around;
    if (living?.process.isAlive !== true) return;
    if (traps.hit("C0")) return this.kill("a request was accepted");
    const tenant = run.one(tenants);
    const isHedged = tenant !== "limited" && run.isDrawn(0.15);
    const request = `${this.name}-r${number}` as RequestId;
    const ends: End[] = isHedged ? ["complete", "hedge-lost"] : [this.#drawEnd()];
    for (const [place, end] of ends.entries()) {
      const attempt = `${this.name}-a${number}-${place}` as AttemptId;
      run.spawn(async () => this.#attempt(living, { request, attempt, tenant, end }));
    }
  }

  #drawEnd(): End {
    const { run } = this.#around;
    if (run.isDrawn(0.7)) return "complete";
    return run.one(["client-cancel", "upstream-error", "upstream-cut"]);
  }

  #source(process: Process): SliceSource {
    const { network, operator } = this.#around;
    const ask = async <Answer>(work: (from: NonNullable<Operator["current"]>) => Promise<Answer>) =>
      network.call(process, operator.receiver, work);
    return {
      acquire: async ({ key, model: of, tokens, times }) => {
        this.#asks += 1;
        const asked = { ...key, model: of, tokens, times: BigInt(times) };
        const name = `${this.name}-${this.#asks}`;
        return ask(async ({ quota, process: ledger }) => {
          const grant = await quota.acquire({ ...asked, gateway: this.id, region, key: name });
          if (grant.kind !== "granted") return grant;
          const slices = grant.slices.map(({ hold, package: { sku } }) => {
            const ttlMs = Number((hold.expiresUs - ledger.nowUs()) / 1_000n);
            return { id: hold.id, units: hold.amount, burn: sku.burn, ttlMs };
          });
          return { kind: "granted", slices } as const;
        });
      },
      renew: async (ids) =>
        ask(async ({ quota, process: ledger }) => {
          const slices = await quota.renew(this.id, ids);
          return new Map(
            slices.map(({ hold }) => [hold.id, Number((hold.expiresUs - ledger.nowUs()) / 1_000n)]),
          );
        }),
      giveBack: async (usedById) => ask(async ({ quota }) => quota.giveBack(this.id, usedById)),
    };
  }

  #send(process: Process): SendRecords {
    const { network, operator, traps, run } = this.#around;
    return async (records, mark) => {
      const request = recordRequest(records, mark);
      const answer = network.call(process, operator.receiver, async ({ record }) =>
        record(request),
      );
      if (traps.hit("C7")) network.forget();
      if (traps.hit("C5")) {
        this.kill("spooled, not published");
        return process.alive(async () => answer);
      }
      const results = await answer;
      if (traps.hit("C6")) this.kill("published, the answer is not heard");
      return process.alive(async () => {
        run.note(
          `${this.name} hears ${results.map((each) => `${each.recordId}=${each.status}`).join(" ")}`,
        );
        return results;
      });
    };
  }

  async #attempt(
    { process, spool, keeper }: Living,
    asked: {
      readonly request: RequestId;
      readonly attempt: AttemptId;
      readonly tenant: Tenant;
      readonly end: End;
    },
  ): Promise<void> {
    const { run, truths } = this.#around;
    const { tenant, attempt, request } = asked;
    const vendor = run.one(vendors);
    const input = BigInt(run.between(50, 400));
    const truth: Truth = {
      ...{ attempt, request, tenant, vendor, input, cacheRead: input / BigInt(run.between(2, 5)) },
      ...{ openedUs: 0n, draft: undefined, isOpened: false, isDispatched: false },
      ...{ output: 0n, delivered: 0n, closed: undefined, isOver: false },
    };
    truths.set(attempt, truth);
    const outputTokensMax = BigInt(run.between(20, 400));
    const key = { tenant: tenant as never, department: "", project: "", scenario: "" };
    const reservation = await process.alive(async () =>
      keeper.reserve(key, { model, promptTokens: input, outputTokensMax }),
    );
    if (reservation.kind === "refused") {
      run.note(`${attempt} is refused: ${reservation.reason}`);
      truth.isOver = true;
      return;
    }
    try {
      await this.#dispatch(
        { process, spool, keeper },
        { truth, reservation, outputTokensMax },
        asked.end,
      );
    } catch (error) {
      if (!(error instanceof MeteringError) && !isSegments(error)) throw error;
      // What could not be written was not sent; what could not be closed is closed after a restart.
      run.note(`${attempt} is not metered: ${error.message}`);
      reservation.settle(usedBy(undefined));
      truth.isOver = true;
      if (!truth.isDispatched) return;
      this.kill("the spool has failed");
    }
  }

  async #dispatch(
    { process, spool }: Living,
    plan: {
      readonly truth: Truth;
      readonly reservation: Reservation;
      readonly outputTokensMax: bigint;
    },
    end: End,
  ): Promise<void> {
    const { run, traps } = this.#around;
    const { truth, reservation, outputTokensMax } = plan;
    const openedUs = process.nowUs();
    truth.openedUs = openedUs;
    const draft = draftOf(truth, { openedUs, outputTokensMax, pool: run.one(truth.vendor.pools) });
    truth.draft = draft;
    await spool.open(draft);
    truth.isOpened = true;
    if (traps.hit("C1")) return this.kill("an attempt is written, not dispatched");
    truth.isDispatched = true;
    const dispatchedUs = process.nowUs();
    await process.wait(run.between(20, 300));
    if (traps.hit("C2")) return this.kill("an attempt is dispatched");
    const chunks = end === "upstream-error" ? 0 : run.between(2, 6);
    const firstByteUs = chunks === 0 ? undefined : process.nowUs();
    const each = outputTokensMax / 8n + 1n;
    for (let chunk = 1; chunk <= chunks; chunk += 1) {
      truth.output += each;
      if (end !== "hedge-lost" || this.#around.hasTwoWinners) truth.delivered += each;
      if (run.isDrawn(0.5))
        spool.watermark(markOf(truth, { process, dispatchedUs, firstByteUs, chunk }));
      await process.wait(run.between(20, 400));
      if (chunk === 2 && traps.hit("C3")) return this.kill("in the middle of a stream");
    }
    if (traps.hit("C4")) return this.kill("the last chunk was seen");
    const closedUs = process.nowUs();
    const record = closedOf(draft, { truth, end, dispatchedUs, firstByteUs, closedUs, chunks });
    reservation.settle(usedBy(record));
    await spool.close(record);
    truth.closed = record;
    truth.isOver = true;
    run.note(`${truth.attempt} closed ${record.end}`);
  }
}

function isSegments(error: unknown): error is Error {
  return error instanceof Error && error.name === "SegmentsError";
}

const nothingSeen = {
  outBytes: 0n,
  reasoningBytes: 0n,
  toolBytes: 0n,
  deliveredBytes: 0n,
  chunks: 0n,
  outDigest: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
};

/** As `draftOf` of the gateway has it: the record that stands if nothing more is ever written. */
function draftOf(
  { attempt, request, tenant, vendor, input }: Truth,
  of: {
    readonly openedUs: bigint;
    readonly outputTokensMax: bigint;
    readonly pool: UsageRecord["pool"];
  },
): UsageRecord {
  const { openedUs, outputTokensMax, pool } = of;
  const book = bookOf(vendor, openedUs);
  return usageRecord({
    ...{ attempt, request, tenant: tenant as never, vendor: vendor.id, pool, region, model },
    ...{ openedUs, closedUs: openedUs, end: "gateway-crash", isWinner: false, outputTokensMax },
    ...{ dispatchedUs: undefined, firstByteUs: undefined, lastByteUs: undefined },
    ...{ httpStatus: undefined, finishReason: undefined, promptBytes: input * 4n },
    engineCounts: {
      ...{ source: "none", input: undefined, cacheRead: undefined, cacheWrite: undefined },
      ...{ output: undefined, reasoning: undefined },
    },
    gatewayCounts: { source: "heuristic", input, output: undefined },
    evidence: nothingSeen,
    ...{ priceBook: book.id, priceVersion: book.version },
  });
}

function markOf(
  truth: Truth,
  at: {
    readonly process: Process;
    readonly dispatchedUs: bigint;
    readonly firstByteUs: bigint | undefined;
    readonly chunk: number;
  },
) {
  const { attempt, input, cacheRead, output, delivered } = truth;
  const atUs = String(at.process.nowUs());
  return {
    ...{
      attempt,
      atUs,
      firstByteUs: String(at.firstByteUs),
      dispatchedUs: String(at.dispatchedUs),
    },
    ...{
      input: String(input),
      cacheRead: String(cacheRead),
      output: String(output),
      reasoning: "0",
    },
    ...{ deltas: Number(output), outBytes: 4 * Number(output), chunks: at.chunk },
    ...{ deliveredBytes: 4 * Number(delivered), sentBytes: 4 * Number(output) },
  };
}

function closedOf(
  draft: UsageRecord,
  of: {
    readonly truth: Truth;
    readonly end: End;
    readonly dispatchedUs: bigint;
    readonly firstByteUs: bigint | undefined;
    readonly closedUs: bigint;
    readonly chunks: number;
  },
): UsageRecord {
  const { truth, end, closedUs, chunks, dispatchedUs, firstByteUs } = of;
  const { input, cacheRead, output } = truth;
  const isLost = end === "hedge-lost" && truth.delivered === 0n;
  const isSeen = chunks > 0;
  const bytes = output * 4n;
  return {
    ...draft,
    ...{ dispatchedUs, firstByteUs, lastByteUs: isSeen ? closedUs : undefined, closedUs },
    end: end === "hedge-lost" ? (isLost ? "gateway-cancel" : "complete") : end,
    cancelCause: isLost ? "hedge-lost" : undefined,
    cancelUs: isLost || end === "client-cancel" ? closedUs : undefined,
    bytesAtCancel: isLost || end === "client-cancel" ? bytes : undefined,
    isWinner: truth.delivered > 0n,
    httpStatus: end === "upstream-error" ? 503 : 200,
    finishReason: end === "complete" ? "stop" : undefined,
    engineCounts: {
      source: end === "complete" ? "final" : isSeen ? "continuous" : "none",
      input: isSeen ? input : undefined,
      cacheRead: isSeen ? cacheRead : undefined,
      cacheWrite: undefined,
      output: isSeen ? output : undefined,
      reasoning: isSeen ? 0n : undefined,
    },
    gatewayCounts: { source: "heuristic", input, output },
    evidence: {
      ...nothingSeen,
      outBytes: bytes,
      deliveredBytes: truth.delivered * 4n,
      chunks: BigInt(chunks),
    },
    sentBytes: bytes,
  };
}
