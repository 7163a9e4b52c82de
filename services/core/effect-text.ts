import type { Effect } from "./events.ts";

/**
 * What a dispatcher gave for an event, short and exact: two runs that gave the same have the same text. An answer is its
 * cost in nano, the fence of its lease and the pool; `-` and the reason if there was none. Empty: nothing was given.
 */
export function effectsText(effects: readonly Effect[]): string {
  const [first, second] = effects;
  if (first === undefined) return "";
  return second === undefined ? effectText(first) : effects.map(effectText).join(";");
}

function effectText(effect: Effect): string {
  switch (effect.kind) {
    case "answer": {
      const { decision, lease } = effect;
      return decision.kind === "placed"
        ? `+${decision.costNano} ${lease?.fence ?? 0} ${decision.pool}`
        : `-${decision.reason}`;
    }
    case "report-answered":
      return effect.result;
    case "renewed":
      return `~${effect.lease.expiresAt}`;
    case "refused":
      return effect.reason;
    case "revoke":
      return `${effect.reason} ${effect.lease.fence}`;
  }
}

/** The pool and the cost that the text of an answer names. Undefined: it is no placement. */
export function placedIn(
  text: string,
): { readonly pool: string; readonly costNano: number } | undefined {
  const [, cost, pool] = /(?:^|;)\+(-?\d+) \d+ ([^;]+)$/.exec(text) ?? [];
  return cost === undefined || pool === undefined ? undefined : { pool, costNano: Number(cost) };
}
