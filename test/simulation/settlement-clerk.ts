import { createClient, ConnectError, Code } from "@connectrpc/connect";
import {
  disputeJwsType,
  toTransitionText,
} from "../../services/core/settlement/claims/dispute-text.ts";
import type { Transition } from "../../services/core/settlement/claims/dispute-text.ts";
import { signDetached } from "../../services/core/settlement/proof/jws.ts";
import type { Period } from "../../services/core/settlement/statements/period.ts";
import type { Statement } from "../../services/core/settlement/statements/statement.ts";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type { GatewayId, PairId } from "../../services/core/units.ts";
import type { SigningKey } from "../../services/io/signing.ts";
import { recordRequest } from "../../services/gateway/usage-sender.ts";
import { DisputeService } from "../../services/wire/gen/tokengrid/v1/claim_pb.js";
import { RecordStatus } from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { encodeUsageRecord } from "../../services/wire/usage-codec.ts";
import type { Surroundings, Truth } from "./settlement-gateway.ts";
import { isUnavailable } from "./settlement-network.ts";
import { operatorSignature, type Settlement } from "./settlement-operator.ts";
import { packageOf, skus, vendors } from "./settlement-terms.ts";
import { Process } from "./settlement-time.ts";

/** What people of the operator do: they ask again until they are answered. */
export class Clerk {
  readonly #around: Surroundings;
  readonly #process: Process;
  #corrections = 0n;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#process = new Process(around.run, "clerk");
  }

  async sellPackages(): Promise<void> {
    for (const tenant of ["limited", "payg"] as const) {
      const sku = skus[tenant];
      await this.#asked(async ({ packages }) => packages.publish(sku));
      const bought = {
        id: packageOf(tenant),
        tenant: tenant as never,
        sku: sku.id,
        skuVersion: 0n,
      };
      await this.#asked(async ({ packages }) => packages.purchase(bought));
    }
  }

  /** Closes what is open up to a day. What cannot be closed yet is asked for again. */
  async close(pair: PairId, day: Period): Promise<Statement> {
    const { traps, run } = this.#around;
    const statement = await this.#asked(async ({ statements }) =>
      statements.closeThrough(pair, day),
    );
    run.note(`statement ${statement.id} ${statement.digest.slice(0, 8)} ${statement.kind}`);
    if (traps.hit("C14")) {
      const again = await this.#asked(async ({ statements }) => statements.close(pair, day));
      run.expect(again.text === statement.text, "I36 C14", () => `${statement.id} is another`);
    }
    return statement;
  }

  /** A statement that has no signature of the operator yet gets one, over the bytes that are there. */
  async sign(statement: Statement, key: SigningKey): Promise<void> {
    const { id, text } = statement;
    const isSigned = await this.#asked(
      async ({ store }) =>
        (await store.document("statement-signature", `${id}:operator`)) !== undefined,
    );
    if (isSigned) return;
    const jws = operatorSignature(key, text);
    await this.#asked(async ({ steps }) => steps.sign(id, "operator", jws));
  }

  /** What is not in dispute; nothing where nothing is owed. */
  async pay(statement: Statement): Promise<void> {
    const { id } = statement;
    const { approvedNano, paidNano } = await this.#asked(async ({ steps }) =>
      steps.approve(id, "clerk"),
    );
    if (approvedNano === paidNano) return;
    const payment = { by: "clerk", amountNano: undefined, reference: `transfer of ${id}` };
    await this.#asked(async ({ steps }) => steps.pay(id, payment));
  }

  /** Makes the next transition of a dispute; the same bytes until they are there. */
  async move(
    dispute: string,
    pair: PairId,
    made: {
      readonly by: Transition["by"];
      readonly step: Transition["step"];
      readonly operator: SigningKey;
    },
  ): Promise<string> {
    const { by, step, operator } = made;
    const client = createClient(
      DisputeService,
      this.#around.network.transport(this.#process, this.#around.operator.rpc),
    );
    const before = await this.#again(async () =>
      client.getDispute({ disputeId: dispute }).then(
        (answer) => answer.dispute,
        (error: unknown) => {
          if (error instanceof ConnectError && error.code === Code.NotFound) return undefined;
          throw error;
        },
      ),
    );
    const [number, prevHash] = [before?.transitions ?? 0, before?.lastHash ?? ""];
    const atUs = this.#process.nowUs();
    const text = toTransitionText({ dispute, pair, number, prevHash, by, step, atUs });
    const vendor = vendors.find((each) => each.pair === pair);
    const signers = [
      ...(by === "counterparty" ? [] : [{ kid: "operator", key: operator }]),
      ...(by === "operator" || vendor === undefined ? [] : [{ kid: vendor.id, key: vendor.key }]),
    ];
    const jws = signers.map(({ kid, key }) =>
      signDetached(text, { kid, typ: disputeJwsType }, (payload) => key.sign(payload)),
    );
    const answer = await this.#again(async () => client.moveDispute({ transitionJson: text, jws }));
    this.#around.run.note(`dispute ${dispute} ${answer.dispute?.state}`);
    return answer.dispute?.state ?? "";
  }

  /** A record is put right: a later revision says something else. */
  async correct(truth: Truth): Promise<void> {
    const { closed } = truth;
    if (closed === undefined) return;
    this.#corrections += 1n;
    const output = closed.engineCounts.output;
    const corrected: UsageRecord = {
      ...closed,
      ...{ id: `${closed.attempt}:1`, gateway: "desk" as GatewayId, epoch: 1n },
      producerSeq: this.#corrections,
      engineCounts: {
        ...closed.engineCounts,
        output: output === undefined ? undefined : output / 2n,
      },
      watermarkOutput: undefined,
      evidence: { ...closed.evidence, chunks: 0n },
    };
    await this.#record(corrected);
  }

  /** Somebody sends other bytes under a known id. */
  async forge(truth: Truth): Promise<void> {
    const { closed } = truth;
    if (closed === undefined) return;
    const numbers = { gateway: "forger" as GatewayId, epoch: 1n, producerSeq: 1n };
    const status = await this.#record({ ...closed, ...numbers, finishReason: "forged" });
    const { CONFLICT } = RecordStatus;
    this.#around.run.expect(status === CONFLICT, "I12", () => `forged ${closed.id}: ${status}`);
  }

  async #record(record: UsageRecord): Promise<RecordStatus | undefined> {
    const request = recordRequest([encodeUsageRecord(record)]);
    const [result] = await this.#asked(async (settlement) => settlement.record(request));
    this.#around.run.note(`desk hears ${result?.recordId}=${result?.status}`);
    return result?.status;
  }

  async #asked<Answer>(work: (of: Settlement) => Promise<Answer>): Promise<Answer> {
    const { network, operator } = this.#around;
    return this.#again(async () => network.call(this.#process, operator.receiver, work));
  }

  async #again<Answer>(work: () => Promise<Answer>): Promise<Answer> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        const isEarly =
          error instanceof ConnectError &&
          /producer-gap|unwitnessed|open-attempts/.test(error.rawMessage);
        if (!isUnavailable(error) && !isEarly) throw error;
        await this.#process.wait(2_000);
      }
    }
  }
}
