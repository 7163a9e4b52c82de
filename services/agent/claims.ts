import { setTimeout as wait } from "node:timers/promises";
import { Code, ConnectError, createClient, type Client, type Transport } from "@connectrpc/connect";
import {
  batchClaimsMax,
  batchOf,
  claimsJwsType,
  toBatchText,
  type ChainHead,
} from "../core/settlement/claims/claim-batch.ts";
import type { UsageClaim } from "../core/settlement/claims/claim.ts";
import { signDetached } from "../core/settlement/proof/jws.ts";
import type { Sign } from "../core/settlement/proof/note.ts";
import { claimOfCount, type OwnCount, type OwnTerms } from "../core/settlement/claims/own-count.ts";
import type { InstantUs, PairId, VendorId } from "../core/units.ts";
import type { Log } from "../io/log.ts";
import { sha256 } from "../io/signing.ts";
import { fromUsageClaim } from "../wire/claim.ts";
import { ClaimService, ClaimStatus } from "../wire/gen/tokengrid/v1/claim_pb.js";
import type { ClaimOutbox, SignedClaims, Waiting } from "./claim-outbox.ts";
import { ClaimTerms } from "./claim-terms.ts";

/** Where a vendor's counts come from. */
export interface CountSource {
  /** Its place in the outbox. */
  readonly name: string;
  /** What came after a place, at most so many, and the place after them. Nothing more is there if the place is the same. */
  read(place: string | undefined, max: number): Promise<Counted>;
}

export interface Counted {
  readonly counts: readonly OwnCount[];
  readonly place: string;
}

export interface ClaimOptions {
  readonly vendor: VendorId;
  readonly transport: Transport;
  readonly source: CountSource;
  readonly outbox: ClaimOutbox;
  /** Name of the vendor's key at the operator. */
  readonly kid: string;
  readonly sign: Sign;
  readonly nowUs: () => InstantUs;
  readonly log: Log;
}

/** Bounds of what waits for the operator. */
export const claimLimits = {
  /** Counts in the outbox; with more, the source waits. */
  waitingMax: 500_000,
  /** How long a count without a price is left alone. */
  postponeUs: 60_000_000n,
  /** Another agent of the same vendor was faster; after so many times in a row it is said. */
  overtakenMax: 20,
} as const;

const callTimeoutMs = 30_000;
/** For the last batches, when the agent is told to stop. */
const farewellMs = 3_000;
const backoffMsMax = 60_000;

/**
 * Sends what a vendor counted itself to the operator: batches of claims, signed and chained, one after the other. A batch is
 * on disk before it is sent and until it is acknowledged, so that after a crash the same bytes are sent again.
 */
export class ClaimSender {
  readonly #options: ClaimOptions;
  readonly #client: Client<typeof ClaimService>;
  readonly #terms: ClaimTerms;
  /** Models without a price that were spoken of. */
  readonly #unpriced = new Set<string>();
  /** Undefined: the operator has to be asked. */
  #head: ChainHead | "none" | undefined;

  constructor(options: ClaimOptions) {
    this.#options = options;
    this.#client = createClient(ClaimService, options.transport);
    this.#terms = new ClaimTerms(options.transport, options.vendor);
  }

  /** Takes in what was counted since, as far as there is room. */
  async collect(): Promise<void> {
    const { source, outbox } = this.#options;
    for (;;) {
      const max = Math.min(batchClaimsMax, claimLimits.waitingMax - outbox.waiting);
      if (max <= 0) return;
      const before = outbox.placeOf(source.name);
      const { counts, place } = await source.read(before, max);
      if (place === before && counts.length === 0) return;
      outbox.add(source.name, place, counts);
    }
  }

  /** Sends all that is due. Throws if the operator cannot be reached or does not take it. */
  async send(signal: AbortSignal): Promise<void> {
    for (let overtaken = 0; ;) {
      const batch = this.#options.outbox.signed() ?? (await this.#next(signal));
      if (batch === undefined) return;
      const isTaken = await this.#submit(batch, signal);
      overtaken = isTaken ? 0 : overtaken + 1;
      if (overtaken > claimLimits.overtakenMax) {
        throw new Error(`another agent of the vendor was faster ${overtaken} times`);
      }
    }
  }

  /** Signs the next batch; undefined if nothing is due. */
  async #next(signal: AbortSignal): Promise<SignedClaims | undefined> {
    const { outbox, nowUs } = this.#options;
    const due = outbox.due(nowUs(), batchClaimsMax);
    if (due.length === 0) return undefined;
    const terms = await this.#terms.current(signal);
    const { claims, counts, unpriced } = this.#priced(due, terms);
    if (unpriced.length > 0) outbox.postpone(unpriced, nowUs() + claimLimits.postponeUs);
    if (claims.length === 0) return this.#next(signal);
    const batch = await this.#signed(claims, signal);
    outbox.sign(batch, counts);
    return batch;
  }

  #priced(due: readonly Waiting[], terms: OwnTerms) {
    const { vendor, log } = this.#options;
    const claims: UsageClaim[] = [];
    const [counts, unpriced]: [Waiting[], Waiting[]] = [[], []];
    for (const each of due) {
      const claim = claimOfCount(each.count, vendor, terms);
      if (claim === undefined) unpriced.push(each);
      else {
        claims.push(claim);
        counts.push(each);
      }
    }
    for (const model of new Set(unpriced.map(({ count }) => count.model))) {
      if (this.#unpriced.has(model)) continue;
      this.#unpriced.add(model);
      log.warn({ model }, "no version of a price book is in force: claims wait for one");
    }
    return { claims, counts, unpriced };
  }

  async #signed(claims: readonly UsageClaim[], signal: AbortSignal): Promise<SignedClaims> {
    const { vendor, kid, sign, nowUs } = this.#options;
    this.#head ??= await this.#askHead(signal);
    const head = this.#head === "none" ? undefined : this.#head;
    const pair = `vendor:${vendor}` as PairId;
    const text = toBatchText(batchOf(claims, { pair, head, submittedUs: nowUs(), sha256 }));
    return { text, jws: signDetached(text, { kid, typ: claimsJwsType }, sign), claims };
  }

  async #askHead(signal: AbortSignal): Promise<ChainHead | "none"> {
    const { vendor } = this.#options;
    const asked = { signal, timeoutMs: callTimeoutMs };
    const { batches, lastHash } = await this.#client.getClaimChain({ vendorId: vendor }, asked);
    return batches === 0n ? "none" : { number: batches, hash: lastHash };
  }

  /** False: another batch of the vendor came first, and this one was signed anew to follow on it. */
  async #submit(batch: SignedClaims, signal: AbortSignal): Promise<boolean> {
    const { vendor, outbox, log } = this.#options;
    const { text, jws, claims } = batch;
    try {
      const { results, batchHash, batchId } = await this.#client.submitClaims(
        { vendorId: vendor, batchJson: text, jws, claims: claims.map(fromUsageClaim) },
        { signal, timeoutMs: callTimeoutMs },
      );
      outbox.acknowledged();
      const number = BigInt(batchId.slice(batchId.lastIndexOf(":") + 1));
      this.#head = { number, hash: batchHash };
      for (const { claimId, status, reason } of results) {
        if (status === ClaimStatus.ACCEPTED || status === ClaimStatus.EXISTS) continue;
        log.error({ claim: claimId, reason }, "the operator does not take a claim");
      }
      return true;
    } catch (error) {
      this.#head = undefined;
      if (!isOvertaken(error)) throw error;
      outbox.sign(await this.#signed(claims, signal), []);
      return false;
    }
  }
}

/** The batch is as it should be, but follows on one that is no longer the last. */
function isOvertaken(error: unknown): boolean {
  if (!(error instanceof ConnectError)) return false;
  const { code, rawMessage } = error;
  return (
    (code === Code.Aborted && rawMessage.startsWith("overlap:")) ||
    (code === Code.FailedPrecondition && rawMessage.startsWith("chain:"))
  );
}

/** Collects and sends until the signal says stop, and once more then. What goes wrong is said when it changes. */
export async function followClaims(options: {
  readonly sender: ClaimSender;
  readonly intervalMs: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { sender, intervalMs, log, signal } = options;
  let [pauseMs, said] = [intervalMs, ""];
  const round = async (until: AbortSignal): Promise<void> => {
    // Before anything is sent: what was counted is safe, whether or not the operator is there.
    await sender.collect();
    try {
      await sender.send(until);
      if (said !== "") log.info({}, "claims are sent again");
      [pauseMs, said] = [intervalMs, ""];
    } catch (error) {
      if (until.aborted) return;
      const words = String(error);
      if (words !== said) log.warn({ error: words }, "claims cannot be sent and wait");
      said = words;
      pauseMs = Math.min(backoffMsMax, pauseMs * 2);
    }
  };
  while (!signal.aborted) {
    await round(signal);
    await pause(pauseMs, signal);
  }
  await round(AbortSignal.timeout(farewellMs));
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await wait(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
