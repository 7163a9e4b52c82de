import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import type { AttemptOutcome, PlaceOutcome, Placement } from "../core/lease.ts";
import type { PlacementRequest } from "../core/placement/request.ts";
import type { LeaseId } from "../core/units.ts";
import { openGrpcStream, type GrpcStream } from "../io/grpc-client-stream.ts";
import type { Log } from "../io/log.ts";
import { toConnectError } from "../wire/errors.ts";
import {
  PlaceStreamRequestSchema,
  PlaceStreamResponseSchema,
  type PlaceResult,
  type PlaceStreamResponse,
  type ReleaseRequestSchema,
  type RenewResponse,
} from "../wire/gen/tokengrid/v1/placement_pb.js";
import { fromAttemptOutcome, fromPlacementRequest, toPlaceOutcome } from "../wire/placement.ts";

/** Bounds of the stream to the control plane. */
export const placementClientLimits = {
  /** Of one message, each of places, renewals and releases. */
  batchMax: 256,
  /** Placements and renewals that wait for an answer; more are refused as unavailable. */
  waitingMax: 16_384,
  /** Releases that wait to be sent; the oldest beyond it are forgotten, as leases expire by themselves. */
  releasesMax: 65_536,
  /** What a connection may take to stand. */
  connectMsMax: 1_000,
  /** What an answer may take; then the link counts as dead. */
  answerMsMax: 2_000,
  /** What closing waits for the last releases. */
  closeMsMax: 1_000,
  backoffMsMin: 50,
  backoffMsMax: 2_000,
} as const;

/** No control replica answers now: decide alone, or refuse. */
export class UnavailableError extends Error {
  override name = "UnavailableError";
}

/** Placement as a gateway wants it: a call per attempt, whatever travels beneath. */
export interface PlacementClient {
  /**
   * Throws `UnavailableError` if no replica answers, INVALID_ARGUMENT if the request is malformed, and the signal's
   * reason if it is aborted; a lease that comes after that is given back.
   */
  place(request: PlacementRequest, signal: AbortSignal): Promise<PlaceOutcome>;
  /** Throws `UnavailableError` if no replica answers. */
  renew(lease: LeaseId, fence: number): Promise<{ readonly ttlMs: number } | "gone">;
  /** Never waits: queued and sent with the next batch. */
  release(placement: Placement, outcome: AttemptOutcome | undefined): void;
  /** Sends what is queued, then leaves. */
  close(): Promise<void>;
}

export async function openPlacementClient(options: {
  readonly rpcUrl: string;
  readonly credential?: string | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<PlacementClient> {
  const client = new StreamedPlacementClient(options);
  options.signal.addEventListener("abort", () => client.stop(), { once: true });
  return client;
}

type Release = MessageInitShape<typeof ReleaseRequestSchema>;

/** A question that waits to be sent, or for its answer. */
interface Waiting<Question, Answer> {
  readonly question: Question;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (reason: unknown) => void;
}

type WaitingPlace = Waiting<PlacementRequest, PlaceResult>;
type WaitingRenewal = Waiting<{ readonly leaseId: string; readonly fence: bigint }, RenewResponse>;

interface Batch {
  readonly places: readonly WaitingPlace[];
  readonly renewals: readonly WaitingRenewal[];
  readonly sentAt: number;
}

interface Unsent {
  readonly places: readonly WaitingPlace[];
  readonly renewals: readonly WaitingRenewal[];
  readonly releases: readonly Release[];
}

const nothing: Unsent = { places: [], renewals: [], releases: [] };

/** Calls of one turn of the loop share a message; answers come in the order of the messages. */
class StreamedPlacementClient implements PlacementClient {
  readonly #options: Parameters<typeof openPlacementClient>[0];
  #state: "connecting" | "open" | "waiting" | "closed" = "waiting";
  #stream: GrpcStream | undefined;
  #places: WaitingPlace[] = [];
  #renewals: WaitingRenewal[] = [];
  #releases: Release[] = [];
  #isForgetting = false;
  /** Sent, oldest first. */
  #sent: Batch[] = [];
  #waiting = 0;
  #isFlushPlanned = false;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #onIdle: (() => void) | undefined;

  constructor(options: Parameters<typeof openPlacementClient>[0]) {
    this.#options = options;
    this.#connect();
  }

  async place(request: PlacementRequest, signal: AbortSignal): Promise<PlaceOutcome> {
    signal.throwIfAborted();
    const answered = this.#ask(this.#places, request);
    const { result } = await beforeAbort(answered, signal, (late) => this.#giveBack(late));
    switch (result.case) {
      case "response":
        return toPlaceOutcome(result.value);
      case "invalid":
        throw toConnectError("BAD_REQUEST", result.value);
      case undefined:
        throw toConnectError("INTERNAL", "expected a placement result, found none");
    }
  }

  async renew(lease: LeaseId, fence: number): Promise<{ readonly ttlMs: number } | "gone"> {
    const question = { leaseId: lease, fence: BigInt(fence) };
    const { outcome } = await this.#ask(this.#renewals, question);
    return outcome.case === "lease" ? { ttlMs: outcome.value.ttlMs } : "gone";
  }

  release({ lease, fence }: Placement, outcome: AttemptOutcome | undefined): void {
    this.#release({
      leaseId: lease,
      fence: BigInt(fence),
      ...(outcome === undefined ? {} : { outcome: fromAttemptOutcome(outcome) }),
    });
  }

  async close(): Promise<void> {
    if (this.#state === "open" && (this.#releases.length > 0 || this.#sent.length > 0)) {
      this.#flush();
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
        setTimeout(resolve, placementClientLimits.closeMsMax).unref();
      });
    }
    this.stop();
  }

  /** Leaves at once: what waits is refused. */
  stop(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    clearTimeout(this.#timer);
    this.#stream?.destroy();
    this.#refuseAll(new UnavailableError("the placement client is closed"));
  }

  #ask<Question, Answer>(queue: Waiting<Question, Answer>[], question: Question): Promise<Answer> {
    if (this.#state === "waiting" || this.#state === "closed") {
      return Promise.reject(new UnavailableError("no control replica answers"));
    }
    if (this.#waiting >= placementClientLimits.waitingMax) {
      return Promise.reject(new UnavailableError(`${this.#waiting} calls wait already`));
    }
    this.#waiting += 1;
    return new Promise((resolve, reject) => {
      queue.push({ question, resolve, reject });
      this.#planFlush();
    });
  }

  #release(release: Release): void {
    this.#releases.push(release);
    if (this.#releases.length > placementClientLimits.releasesMax) {
      this.#releases.shift();
      if (!this.#isForgetting)
        this.#options.log.warn("releases are forgotten: leases expire instead");
      this.#isForgetting = true;
    }
    this.#planFlush();
  }

  /** The caller left before the answer came: the slot is free again. */
  #giveBack({ result }: PlaceResult): void {
    if (result.case !== "response" || result.value.outcome.case !== "placement") return;
    const { lease } = result.value.outcome.value;
    if (lease !== undefined) this.#release({ leaseId: lease.leaseId, fence: lease.fence });
  }

  #planFlush(): void {
    if (this.#isFlushPlanned || this.#state !== "open") return;
    this.#isFlushPlanned = true;
    setImmediate(() => {
      this.#isFlushPlanned = false;
      this.#flush();
    });
  }

  #flush(): void {
    const { batchMax } = placementClientLimits;
    while (
      this.#state === "open" &&
      this.#places.length + this.#renewals.length + this.#releases.length > 0
    ) {
      this.#send({
        places: this.#places.splice(0, batchMax),
        renewals: this.#renewals.splice(0, batchMax),
        releases: this.#releases.splice(0, batchMax),
      });
    }
  }

  #send(batch: Unsent): void {
    let message: Uint8Array;
    try {
      message = encoded(batch);
    } catch (cause) {
      return this.#sendSound(batch, cause);
    }
    const { places, renewals } = batch;
    this.#sent.push({ places, renewals, sentAt: performance.now() });
    this.#stream?.send(message);
    if (this.#sent.length === 1) this.#watch();
  }

  /** One question that the protocol has no room for must not take the others with it. */
  #sendSound({ places, renewals, releases }: Unsent, cause: unknown): void {
    const [sound, unsound] = parted(places, (each) => isSound({ ...nothing, places: [each] }));
    if (unsound.length === 0) throw cause;
    this.#waiting -= unsound.length;
    for (const { reject } of unsound) {
      reject(toConnectError("BAD_REQUEST", "expected numbers within the bounds of the protocol"));
    }
    this.#send({ places: sound, renewals, releases });
  }

  #receive(bytes: Uint8Array): void {
    const answer = fromBinary(PlaceStreamResponseSchema, bytes);
    const batch = this.#sent.shift();
    if (batch === undefined || !fits(batch, answer)) {
      throw toConnectError("INTERNAL", "expected an answer per question, found another number");
    }
    this.#waiting -= batch.places.length + batch.renewals.length;
    for (const [index, { resolve }] of batch.places.entries()) {
      const result = answer.places[index];
      if (result !== undefined) resolve(result);
    }
    for (const [index, { resolve }] of batch.renewals.entries()) {
      const renewal = answer.renewals[index];
      if (renewal !== undefined) resolve(renewal);
    }
    this.#watch();
    if (this.#sent.length === 0 && this.#releases.length === 0) this.#onIdle?.();
  }

  /** An answer that does not come means a dead link, whatever the connection says. */
  #watch(): void {
    clearTimeout(this.#timer);
    const [oldest] = this.#sent;
    if (oldest === undefined) return;
    const leftMs = oldest.sentAt + placementClientLimits.answerMsMax - performance.now();
    this.#timer = setTimeout(() => this.#stream?.destroy(), Math.max(0, leftMs)).unref();
  }

  #connect(): void {
    this.#state = "connecting";
    const { rpcUrl: url, credential } = this.#options;
    const path = "/tokengrid.v1.PlacementService/PlaceStream";
    this.#stream = openGrpcStream({
      url,
      path,
      credential,
      onOpen: () => this.#opened(),
      onMessage: (message) => this.#receive(message),
      onEnd: (error) => this.#ended(error),
    });
    this.#timer = setTimeout(
      () => this.#stream?.destroy(),
      placementClientLimits.connectMsMax,
    ).unref();
  }

  #opened(): void {
    clearTimeout(this.#timer);
    if (this.#failures > 0) this.#options.log.info("control answers again");
    this.#failures = 0;
    this.#isForgetting = false;
    this.#state = "open";
    this.#flush();
  }

  #ended(error: ConnectError | undefined): void {
    if (this.#state === "closed") return;
    clearTimeout(this.#timer);
    this.#state = "waiting";
    this.#failures += 1;
    const reason = error?.rawMessage ?? "the stream ended";
    if (this.#failures === 1) this.#options.log.warn({ reason }, "control does not answer");
    this.#refuseAll(
      new UnavailableError(`no control replica answers: ${reason}`, { cause: error }),
    );
    this.#timer = setTimeout(() => this.#connect(), backoffMs(this.#failures)).unref();
  }

  #refuseAll(error: UnavailableError): void {
    const sent = this.#sent.flatMap(({ places, renewals }) => [...places, ...renewals]);
    const all = [...sent, ...this.#places, ...this.#renewals];
    this.#sent = [];
    this.#places = [];
    this.#renewals = [];
    this.#waiting = 0;
    for (const { reject } of all) reject(error);
    this.#onIdle?.();
  }
}

/** Throws for a number that its field cannot hold. */
function encoded({ places, renewals, releases }: Unsent): Uint8Array {
  const message = create(PlaceStreamRequestSchema, {
    places: places.map(({ question }) => fromPlacementRequest(question)),
    renewals: renewals.map(({ question }) => question),
    releases: [...releases],
  });
  return toBinary(PlaceStreamRequestSchema, message);
}

function isSound(batch: Unsent): boolean {
  try {
    encoded(batch);
    return true;
  } catch {
    return false;
  }
}

function parted<Item>(
  items: readonly Item[],
  isFirst: (item: Item) => boolean,
): readonly [readonly Item[], readonly Item[]] {
  const { true: first = [], false: second = [] } = Object.groupBy(items, (each) =>
    String(isFirst(each)),
  );
  return [first, second];
}

function fits(batch: Batch, { places, renewals }: PlaceStreamResponse): boolean {
  return places.length === batch.places.length && renewals.length === batch.renewals.length;
}

/** The first retry is quick, as replicas are replaced under load; then it doubles, with jitter. */
function backoffMs(failures: number): number {
  const { backoffMsMin, backoffMsMax } = placementClientLimits;
  const full = Math.min(backoffMsMax, backoffMsMin * 2 ** (failures - 1));
  return full * (0.8 + 0.4 * Math.random());
}

/** The answer, or the signal's reason; `onLate` gets an answer that nobody waits for any more. */
function beforeAbort<Answer>(
  answered: Promise<Answer>,
  signal: AbortSignal,
  onLate: (answer: Answer) => void,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    answered.then(
      (answer) => {
        signal.removeEventListener("abort", onAbort);
        if (signal.aborted) onLate(answer);
        else resolve(answer);
      },
      (error: unknown) => {
        signal.removeEventListener("abort", onAbort);
        reject(error);
      },
    );
  });
}
