import { ConnectError, createClient } from "@connectrpc/connect";
import { originOf } from "../../services/core/settlement/proof/checkpoint.ts";
import {
  batchOf,
  claimsJwsType,
  toBatchText,
} from "../../services/core/settlement/claims/claim-batch.ts";
import { claimIdOf, type UsageClaim } from "../../services/core/settlement/claims/claim.ts";
import { signDetached } from "../../services/core/settlement/proof/jws.ts";
import { noteKey } from "../../services/core/settlement/proof/note.ts";
import { bookText } from "../../services/core/settlement/terms/terms-text.ts";
import { noTokens } from "../../services/core/settlement/counting/usage.ts";
import type { ModelId } from "../../services/core/units.ts";
import { LogFollower } from "../../services/agent/witness.ts";
import { sha256 } from "../../services/io/signing.ts";
import { openWitnessState, type WitnessState } from "../../services/io/witness-state.ts";
import { Witness, type WitnessHeads } from "../../services/io/witness.ts";
import { fromUsageClaim } from "../../services/wire/claim.ts";
import { ClaimService } from "../../services/wire/gen/tokengrid/v1/claim_pb.js";
import type { Surroundings, Truth } from "./settlement-gateway.ts";
import { isUnavailable } from "./settlement-network.ts";
import { domain, operatorKeys, type VendorTerms } from "./settlement-terms.ts";
import { never, Process } from "./settlement-time.ts";

/** How a vendor counts. */
export type Habit = "honest" | "over" | "silent" | "slow";

/** A vendor with its own count of what its pools made, and a witness of the log that is about it. */
export class Vendor {
  readonly terms: VendorTerms;
  readonly #around: Surroundings;
  readonly #state: WitnessState = openWitnessState(":memory:");
  #process: Process;
  #follower: LogFollower | undefined;
  habit: Habit = "honest";
  isWitnessing = true;
  /** Where nothing happens it looks less often. */
  slowness = 1;
  /** Of the operator's keys that this vendor was told. */
  keysKnown = 1;
  readonly #claimed = new Set<string>();

  constructor(around: Surroundings, terms: VendorTerms) {
    this.#around = around;
    this.terms = terms;
    this.#process = new Process(around.run, terms.id);
  }

  start(): void {
    const { run, network, operator } = this.#around;
    this.#process.kill("it is started again");
    this.#process = new Process(run, this.terms.id);
    const process = this.#process;
    run.note(`${this.terms.id} starts`);
    const logKeys = operatorKeys
      .slice(0, this.keysKnown)
      .map(({ publicKey }) =>
        noteKey({ name: originOf(domain, this.terms.pair), type: "signature", publicKey }, sha256),
      );
    const witness = new Witness({
      key: this.terms.witness,
      sign: this.terms.key.sign,
      heads: this.#heads(process),
      keysOf: () => logKeys,
      nowSeconds: () => process.nowUs() / 1_000_000n,
    });
    const transport = network.transport(process, operator.rpc);
    const logId = this.terms.pair;
    this.#follower = new LogFollower({
      ...{ transport, logId, logKeys, witness },
      isEveryLeafRead: true,
    });
    process.every(
      () => run.between(1_500, 3_500) * this.slowness,
      async () => this.#look(),
    );
    process.every(
      () => run.between(3_000, 8_000),
      async () => this.#claim(),
    );
  }

  /** Until the next start. */
  sleep(): void {
    this.#process.kill("it is night");
  }

  revive(): void {
    if (!this.#process.isAlive) this.start();
  }

  async #look(): Promise<void> {
    const { run } = this.#around;
    if (!this.isWitnessing) return;
    const { signal } = this.#process.stop;
    try {
      const outcome = await this.#process.alive(async () => this.#follower?.look(signal));
      if (outcome !== undefined) {
        const said = outcome.kind === "signed" ? `signed ${outcome.size}` : outcome.kind;
        run.note(`${this.terms.id} ${said}`);
        if (outcome.kind === "misbehaved") this.onMisbehaved(outcome.reason);
      }
    } catch (error) {
      if (!isUnavailable(error)) throw error;
    }
  }

  onMisbehaved: (reason: string) => void = () => undefined;

  /** What the witness signed last. */
  async head() {
    return this.#state.head(originOf(domain, this.terms.pair));
  }

  /** Who is killed between looking and keeping has told nobody. */
  #heads(process: Process): WitnessHeads {
    const { traps, run } = this.#around;
    return {
      head: (origin) => process.alive(async () => this.#state.head(origin)),
      update: async (origin, note, decide) => {
        if (traps.hit("C12")) {
          decide(await this.#state.head(origin));
          process.kill("verified, not kept");
          return never();
        }
        const before = await this.#state.head(origin);
        const outcome = await this.#state.update(origin, note, decide);
        if (outcome.status === 200) {
          const isGrown = outcome.head.size >= (before?.size ?? 0n);
          const { size, root } = outcome.head;
          const isKept = this.#around.watch.isKept(`${this.terms.pair} ${size}`, root);
          run.expect(isKept, "I24", () => `${this.terms.id} signs ${size}, which is not kept`);
          run.expect(
            isGrown,
            "I21",
            () => `${this.terms.id} signed ${outcome.head.size} after ${before?.size}`,
          );
        }
        return process.alive(async () => outcome);
      },
    };
  }

  /** Claims what is over and was not claimed yet, as one batch that is sent until it is there. */
  async #claim(): Promise<void> {
    const { run, truths } = this.#around;
    if (this.habit === "silent") return;
    if (this.habit === "slow" && run.isDrawn(0.7)) return;
    const mine = [...truths.values()].filter(
      ({ vendor, isOver, isDispatched, attempt }) =>
        vendor === this.terms && isOver && isDispatched && !this.#claimed.has(attempt),
    );
    const claims = mine
      .filter(({ output }) => output > 0n)
      .slice(0, 40)
      .map((truth) => this.#claimOf(truth, 0n));
    // Now and then a claim is put right by a later revision.
    const [first] = claims;
    if (first !== undefined && run.isDrawn(0.2)) {
      claims.push({ ...first, id: claimIdOf(this.terms.id, first.attempt, 1n), rev: 1n });
    }
    if (claims.length === 0) return;
    const isThere = await this.#submit(claims);
    if (isThere) for (const { attempt } of claims) this.#claimed.add(attempt);
  }

  async #submit(claims: readonly UsageClaim[]): Promise<boolean> {
    const { run, network, operator } = this.#around;
    const process = this.#process;
    const client = createClient(ClaimService, network.transport(process, operator.rpc));
    const { id, pair, key } = this.terms;
    try {
      const { batches, lastHash } = await client.getClaimChain({ vendorId: id });
      const head = batches === 0n ? undefined : { number: batches, hash: lastHash };
      const batch = batchOf(claims, { pair, head, submittedUs: process.nowUs(), sha256 });
      const text = toBatchText(batch);
      const jws = signDetached(text, { kid: id, typ: claimsJwsType }, key.sign);
      const sent = { vendorId: id, batchJson: text, jws, claims: claims.map(fromUsageClaim) };
      const { results } = await client.submitClaims(sent);
      run.note(
        `${id} claimed ${results.map(({ claimId, status }) => `${claimId}=${status}`).join(" ")}`,
      );
      return true;
    } catch (error) {
      // Sent again as another batch: claims that are there already change nothing. What was sent before may have come late.
      const isBehind = error instanceof ConnectError && /overlap|chain/.test(error.rawMessage);
      if (!isUnavailable(error) && !isBehind) throw error;
      return false;
    }
  }

  #claimOf(truth: Truth, rev: bigint): UsageClaim {
    const { id, books } = this.terms;
    const { attempt, input, cacheRead, output, draft, openedUs } = truth;
    const book = books.find(({ version }) => version === draft?.priceVersion);
    const priceHash = book === undefined ? "" : sha256(bookText(book));
    const more = this.habit === "over" ? output / 10n + 5n : 0n;
    return {
      ...{ id: claimIdOf(id, attempt, rev), attempt, rev, pool: draft?.pool ?? ("" as never) },
      ...{ model: "qwen3-32b" as ModelId, priceHash, slot: "any" },
      tokens: { ...noTokens, uncachedInput: input - cacheRead, cacheRead, response: output + more },
      ...{ openedUs, closedUs: openedUs + 1_000_000n },
    };
  }
}
