/** The pools that our hard filters admit, sooner than `eligible` says so. */

import { reasonOfScope } from "../../services/core/placement/filters.ts";
import type { Snapshot } from "../../services/core/placement/decide.ts";
import type { Policy } from "../../services/core/placement/policy.ts";
import { Prospect, toAsk, type Ask } from "../../services/core/placement/prospect.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import { standingOf, type Standing } from "../../services/core/placement/standing.ts";
import type { Pool } from "../../services/core/pool.ts";
import type { Geography } from "../../services/core/region.ts";

/** Kinds of request that are kept; beyond it all are found anew. */
const KINDS_MAX = 4_096;

/** A pool as one kind of request sees it, with the verdict of all filters but those of the request. */
interface Gate {
  readonly standing: Standing;
  readonly at: Prospect;
  readonly isOpen: boolean;
}

/**
 * For requests for one model. Keeps what requests of a kind have in common as long as a pool is the same value, so that
 * the time of a rival is not spent on our filters.
 */
export class Admission {
  readonly #standings: Standing[] = [];
  readonly #gatesByKind = new Map<string, Gate[]>();
  #policy: Policy | undefined;
  #geography: Geography | undefined;

  admitted(
    request: PlacementRequest,
    snapshot: Snapshot,
    policy: Policy,
  ): { readonly ask: Ask; readonly prospects: readonly Prospect[] } {
    const ask = toAsk(request, policy, snapshot);
    this.#forgetIfChanged(ask);
    const gates = this.#gatesOf(request);
    const prospects: Prospect[] = [];
    for (let place = 0; place < snapshot.pools.length; place++) {
      const pool = snapshot.pools[place];
      const standing = pool === undefined ? undefined : this.#standingOf(pool, place, ask);
      if (standing === undefined) continue;
      let gate = gates[place];
      if (gate?.standing !== standing) {
        gate = gateOf(standing, ask);
        gates[place] = gate;
      }
      const { at, isOpen } = gate;
      if (isOpen && reasonOfScope("request", at, ask) === undefined) prospects.push(at);
    }
    return { ask, prospects };
  }

  #gatesOf(request: PlacementRequest): Gate[] {
    const key = kindOf(request);
    const known = this.#gatesByKind.get(key);
    if (known !== undefined) return known;
    if (this.#gatesByKind.size >= KINDS_MAX) this.#gatesByKind.clear();
    const gates: Gate[] = [];
    this.#gatesByKind.set(key, gates);
    return gates;
  }

  #standingOf(pool: Pool, place: number, ask: Ask): Standing | undefined {
    const known = this.#standings[place];
    if (known !== undefined && known.pool === pool && known.until > ask.now) return known;
    const served = pool.served.get(ask.request.model);
    if (served === undefined) return undefined;
    const standing = standingOf(pool, served, ask);
    this.#standings[place] = standing;
    return standing;
  }

  /** A policy with overrides is another one for each of those whom they name. */
  #forgetIfChanged({ policy, geography }: Ask): void {
    if (policy === this.#policy && geography === this.#geography) return;
    this.#policy = policy;
    this.#geography = geography;
    this.#standings.length = 0;
    this.#gatesByKind.clear();
  }
}

function gateOf(standing: Standing, ask: Ask): Gate {
  const at = new Prospect(standing, ask);
  const isOpen =
    reasonOfScope("pool", at, ask) === undefined && reasonOfScope("kind", at, ask) === undefined;
  return { standing, at, isOpen };
}

/** All that those filters and a prospect depend on. A line break is in no id. */
function kindOf(request: PlacementRequest): string {
  const { class: serviceClass, origin, tenant, dataClass, mlpsLevelMin } = request;
  const { regions, vendorsAllowed, vendorsDenied } = request;
  const lists = [regions, vendorsAllowed, vendorsDenied].map((each) => [...each].join("\t"));
  return [serviceClass, origin, tenant, dataClass, mlpsLevelMin, ...lists].join("\n");
}
