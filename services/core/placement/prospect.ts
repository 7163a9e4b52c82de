import { assert } from "../assert.ts";
import type { Pool, Served } from "../pool.ts";
import type { Geography, Origin } from "../region.ts";
import type { Instant } from "../units.ts";
import { engineOf } from "./engine-of.ts";
import { expect, type Expected } from "./expect.ts";
import { loadOf, type Load } from "./load.ts";
import type { Policy } from "./policy.ts";
import type { PlacementRequest } from "./request.ts";
import { rulesFor, type Rules } from "./rules.ts";
import { tariffsAt, type AppliedTariff } from "./tariffs.ts";

/** What is asked, with all that is the same for every pool. */
export interface Ask {
  readonly request: PlacementRequest;
  readonly policy: Policy;
  readonly now: Instant;
  readonly geography: Geography;
  readonly origin: Origin | undefined;
  readonly rules: Rules;
  /** Expected, never more than the most that the engine is told. */
  readonly outputTokens: number;
}

export function toAsk(
  request: PlacementRequest,
  policy: Policy,
  { now, geography }: { readonly now: Instant; readonly geography: Geography },
): Ask {
  const origin = geography.origins.get(request.origin);
  const rules = rulesFor(policy, { request, origin });
  const expected = request.outputTokensExpected ?? policy.outputTokensDefault;
  const outputTokens = Math.min(expected, request.outputTokensMax ?? Infinity);
  return { request, policy, now, geography, origin, rules, outputTokens };
}

/** A pool as one request sees it. Its load and its future are worked out when a rule first asks. */
export class Prospect {
  readonly pool: Pool;
  readonly #ask: Ask;
  #load: Load | undefined;
  #expected: Expected | undefined;
  #tariffs: readonly AppliedTariff[] | undefined;

  constructor(pool: Pool, ask: Ask) {
    this.pool = pool;
    this.#ask = ask;
  }

  get served(): Served {
    const served = this.pool.served.get(this.#ask.request.model);
    assert(served !== undefined, "the filter on the model comes first");
    return served;
  }

  get load(): Load {
    this.#load ??= loadOf(this.pool, this.served);
    return this.#load;
  }

  get expected(): Expected {
    this.#expected ??= this.#expect();
    return this.#expected;
  }

  get tariffs(): readonly AppliedTariff[] {
    this.#tariffs ??= tariffsAt(this, this.#ask);
    return this.#tariffs;
  }

  #expect(): Expected {
    const { request, policy, geography, outputTokens } = this.#ask;
    const { pool, served, load } = this;
    const engine = engineOf(served, policy);
    const { residualGramsPerKwh } = geography;
    return expect({
      request,
      outputTokens,
      pool,
      served,
      engine,
      load,
      policy,
      residualGramsPerKwh,
    });
  }
}
