import type { BudgetsImage } from "./budgets.ts";
import type { EjectionsImage } from "./ejection.ts";
import type { ElsewhereImage } from "./elsewhere.ts";
import type { ForesightImage } from "./foresight.ts";
import type { GrantImage } from "./grants.ts";
import type { MovesImage } from "./in-flight.ts";
import type { Policy } from "./placement/policy.ts";
import type { PoolTableImage } from "./pool-table.ts";
import type { PoolRegistration } from "./pool.ts";
import type { PricesImage } from "./prices-in-force.ts";
import type { Geography } from "./region.ts";
import type { Instant, ReplicaId } from "./units.ts";

/** Goes up when an older image would not restore the whole state. */
export const IMAGE_VERSION = 2;

/**
 * The whole state of a dispatcher between two events, as values: what follows replays bit for bit from it. Every part
 * that remembers something has `image()`, which shares nothing that is changed later, and `restore()`, which is told it
 * when it is new. `test/core/image.test.ts` compares all that a dispatcher can reach, private fields included, with
 * what is restored, so that a part cannot be forgotten.
 */
export interface DispatcherImage {
  readonly version: typeof IMAGE_VERSION;
  readonly replica: ReplicaId;
  readonly revision: number;
  readonly fence: number;
  readonly policy: Policy;
  readonly geography: Geography;
  readonly registrations: readonly PoolRegistration[];
  readonly pools: PoolTableImage;
  readonly grants: readonly GrantImage[];
  readonly inFlight: readonly MovesImage[];
  readonly ejections: EjectionsImage;
  readonly elsewhere: ElsewhereImage;
  readonly foresight: ForesightImage;
  readonly prices: PricesImage;
  readonly pricesUntil: Instant;
  readonly budgets: BudgetsImage;
}
