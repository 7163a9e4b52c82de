import type { Unplaceable, Decision } from "./decide.ts";
import type { ModelChoice, PassedOver, PlacementRequest } from "./request.ts";
import type { UnplaceableReason } from "../lease.ts";
import type { ModelId } from "../units.ts";

/** The name of no model, as no name is empty. */
const noModel = "" as ModelId;

/** Most models that an alias may stand for. */
export const CHOICES_MAX = 16;

/**
 * Tries the models that an alias stands for, in the order of preference, and takes the first that can be placed: it is
 * allowed, a pool serves it within its cap, and has room. A model that the key's list does not have is never tried. If
 * none can be placed, the answer is that of the model that is nearest to it. All is in the request of the decision.
 */
export function chooseModel(
  request: PlacementRequest,
  decideOn: (request: PlacementRequest) => Decision,
): Decision {
  const { choices } = request;
  if (choices === undefined || choices.length === 0) return decideOn(request);
  const passedOver: PassedOver[] = [];
  const failed: Unplaceable[] = [];
  for (const choice of choices) {
    if (!choice.isAllowed) {
      passedOver.push(passed(choice, "not-allowed"));
      continue;
    }
    const soFar = [...passedOver];
    const decision = decideOn({ ...request, model: choice.model, choice, passedOver: soFar });
    if (decision.kind === "placed") return decision;
    failed.push(decision);
    passedOver.push(passed(choice, decision.reason, decision.tally.poolsByReason));
  }
  const nearest = failed.toSorted((a, b) => farness(a) - farness(b))[0];
  // Nothing is allowed: decided for no model at all, and said why.
  if (nearest === undefined) return decideOn({ ...request, model: noModel, passedOver });
  const others = passedOver.filter((_, index) => choices[index] !== nearest.request.choice);
  // Made again and not copied: a decision that is explained only when it is read has nothing to copy yet.
  return decideOn({ ...nearest.request, passedOver: others });
}

/** `qwen3-32b: no-eligible-pool (alias-price-cap 3)`. */
export function passedOverText({ model, version, reason, poolsByReason }: PassedOver): string {
  const counts = [...poolsByReason].map(([each, count]) => `${each} ${count}`).join(", ");
  const name = version === undefined ? model : `${model} version ${version}`;
  return `${name}: ${reason}${counts === "" ? "" : ` (${counts})`}`;
}

function passed(
  { model, version }: ModelChoice,
  reason: PassedOver["reason"],
  counts: ReadonlyMap<string, number> = new Map(),
): PassedOver {
  const poolsByReason = new Map(counts);
  poolsByReason.delete("model-not-served");
  return { model, version, reason, poolsByReason };
}

/** What passes is nearer than what has to be changed. */
const farnesses: Readonly<Record<UnplaceableReason, number>> = {
  "no-eligible-pool": 0,
  "budget-exhausted": 1,
  "context-too-long": 2,
  unsatisfiable: 3,
  "model-not-found": 4,
};

function farness({ reason }: Unplaceable): number {
  return farnesses[reason];
}
