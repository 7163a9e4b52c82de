import type { Figure } from "../figure.ts";
import { toOneWayMs } from "../network.ts";
import type { Instant } from "../units.ts";
import type { PoolCondition } from "./policy.ts";
import type { Ask, Prospect } from "./prospect.ts";

/** How things are said in rejections and explanations. */

/** At most three decimals: `23.1`, `0.667`. */
export function rounded(value: number): string {
  return String(Math.round(value * 1_000) / 1_000);
}

export function seconds(ms: number): string {
  return `${rounded(Math.round(ms / 100) / 10)} s`;
}

/** `a, b or c`; `none` if there is nothing. */
export function listed(names: Iterable<string>): string {
  const all = [...names];
  const last = all.pop();
  if (last === undefined) return "none";
  return all.length === 0 ? last : `${all.join(", ")} or ${last}`;
}

/** ` measured 4 s ago`; an estimate has no age worth telling. */
export function aged(figure: Figure | undefined, now: Instant): string {
  if (figure === undefined) return "";
  if (figure.source === "estimated") return " estimated";
  return ` ${figure.source} ${seconds(now - figure.observedAt)} ago`;
}

/** What a row wants of a pool. */
export function wanted(condition: PoolCondition): string {
  const { policyRoles, sides, regions, regionsExcept, vendors, vendorsExcept, tags } = condition;
  const { oneWayMsMax, oneWayMsAbove } = condition;
  const parts = [
    oneWayMsMax === undefined ? "" : `one-way ≤ ${oneWayMsMax} ms`,
    oneWayMsAbove === undefined ? "" : `one-way > ${oneWayMsAbove} ms`,
    said(condition.isLocal, "near the user"),
    said(condition.isMainland, "on the mainland"),
    said(condition.admitsDataClass, "for the class of data"),
    said(condition.meetsMlpsLevel, "of the level of protection"),
    oneOf("role", policyRoles),
    oneOf("side", sides),
    oneOf("region", regions),
    oneOf("region other than", regionsExcept),
    oneOf("vendor", vendors),
    oneOf("vendor other than", vendorsExcept),
    tags === undefined ? "" : `tags ${[...tags].join(" and ")}`,
    condition.pueAbove === undefined ? "" : `PUE > ${condition.pueAbove}`,
    condition.routeFactorAbove === undefined
      ? ""
      : `route > ${condition.routeFactorAbove} × direct`,
  ];
  return parts.filter((part) => part !== "").join(" and ");
}

function said(wish: boolean | undefined, what: string): string {
  if (wish === undefined) return "";
  return wish ? what : `not ${what}`;
}

function oneOf(what: string, names: ReadonlySet<string> | undefined): string {
  return names === undefined ? "" : `${what} ${listed(names)}`;
}

/** `one-way 23.1 ms measured 4 s ago`. */
export function pathOf({ pool }: Prospect, { request, now }: Ask): string {
  const roundTrip = pool.roundTripMsFrom.get(request.origin);
  if (roundTrip === undefined) return "no path measured or estimated";
  return `${rounded(toOneWayMs(roundTrip.value))} ms${aged(roundTrip, now)}`;
}

/** `zhongwei, a western supply-hub`. */
export function siteOf({ pool: { region } }: Prospect): string {
  return `${region.id}, ${region.side === "east" ? "an eastern" : "a western"} ${region.policyRole}`;
}
