import type { BehindGateway } from "../../core/settlement/statements/may-close.ts";
import type { GatewayId, InstantUs } from "../../core/units.ts";

/** A gateway that nobody has heard of for so long has nothing open any more. */
const heardWithinUs = 86_400_000_000n;

/** A gateway's word: every attempt that was opened before the instant is in the ledger. */
export interface GatewayMark {
  readonly gateway: GatewayId;
  readonly epoch: bigint;
  readonly completeUntilUs: InstantUs;
}

interface Known {
  readonly heardUs: InstantUs;
  readonly epoch: bigint;
  /** Undefined: it has not said yet. */
  readonly completeUntilUs: InstantUs | undefined;
}

/** How far each gateway is, as it says itself. Kept in memory alone: after a restart all of them are unknown again. */
export class Gateways {
  readonly #nowUs: () => InstantUs;
  readonly #known = new Map<GatewayId, Known>();

  /** `before` are those that the ledger knows. */
  constructor(options: { readonly before: Iterable<GatewayId>; readonly nowUs: () => InstantUs }) {
    this.#nowUs = options.nowUs;
    for (const gateway of options.before) this.heard(gateway);
  }

  /** It has sent records. */
  heard(gateway: GatewayId): void {
    const { epoch = 0n, completeUntilUs } = this.#known.get(gateway) ?? {};
    this.#known.set(gateway, { heardUs: this.#nowUs(), epoch, completeUntilUs });
  }

  note({ gateway, epoch, completeUntilUs }: GatewayMark): void {
    const before = this.#known.get(gateway);
    if (before !== undefined && epoch < before.epoch) return;
    const isSame = before?.epoch === epoch && before.completeUntilUs !== undefined;
    const isOlder = isSame && before.completeUntilUs > completeUntilUs;
    this.#known.set(gateway, {
      heardUs: this.#nowUs(),
      epoch,
      completeUntilUs: isOlder ? before.completeUntilUs : completeUntilUs,
    });
  }

  /** Those of the last day that may still have something from before an instant. */
  behind(us: InstantUs): BehindGateway[] {
    const since = this.#nowUs() - heardWithinUs;
    return [...this.#known].flatMap(([gateway, { heardUs, completeUntilUs }]) => {
      const isDone = completeUntilUs !== undefined && completeUntilUs >= us;
      return heardUs < since || isDone ? [] : [{ gateway, completeUntilUs }];
    });
  }
}
