/** Who takes part: our own way, and every baseline in every setting. */

import { chooser } from "../../services/core/placement/chooser.ts";
import type { Policy } from "../../services/core/placement/policy.ts";
import { serviceClasses } from "../../services/core/placement/request.ts";
import type { ReplicaId } from "../../services/core/units.ts";
import type { Rival } from "../../services/sim/world-options.ts";
import { baselines, type BaselineName } from "../baselines/baselines.ts";
import { Endpoints } from "../baselines/endpoints.ts";
import type { Baseline, MakeRival } from "../baselines/rival.ts";

/** A policy in one setting. Two are the same if all of it is. */
export interface Setting {
  readonly policy: string;
  readonly variant: string;
  /** At which pools report, and it looks. */
  readonly reportIntervalMs: number;
  readonly dispatchers: number;
}

/** Kinds of policy that share a colour on the plots, by where their formula stands in the notes on peers. */
export const families = [
  "ours",
  "counting",
  "reported load",
  "prefix and region",
  "price and latency",
  "references",
  "mixed",
] as const;

export type Family = (typeof families)[number];

export interface Contestant {
  readonly name: string;
  /** Paragraph of the notes on peers that its formula is from. */
  readonly source: string;
  readonly family: Family;
  readonly settings: readonly Setting[];
}

/** How often our own agents report. */
export const OUR_REPORTS_MS = 1_000;

const familyBySource: Readonly<Record<string, Family>> = {
  "§2.1": "counting",
  "§2.2": "counting",
  "§2.3": "counting",
  "§2.4": "reported load",
  "§2.6": "reported load",
  "§2.8": "reported load",
  "§2.5": "prefix and region",
  "§2.7": "prefix and region",
  "§2.9": "prefix and region",
  "§2.10": "price and latency",
  "§2.11": "price and latency",
  "§2.12": "references",
  "§2.13": "references",
};

const byName: Readonly<Record<string, Baseline>> = baselines;

/** Those that do the same as another to the last digit: run and shown once, under both names. */
const sameAs: Readonly<Record<string, BaselineName>> = {
  "litellm-simple-shuffle": "random",
  "litellm-lowest-cost": "cheapest-first",
} satisfies { readonly [Name in BaselineName]?: BaselineName };

/** The name that stands for our own way. */
export const ours = "ours";
const oursByFour = "ours-4";

const ownWays = {
  [ours]: { name: "tokengrid", dispatchers: 1 },
  [oursByFour]: { name: "tokengrid, 4 dispatchers", dispatchers: 4 },
} as const;

/** A baseline that also leaves the last slots as our policy does: which part of the difference is that rule's. It is no peer's. */
export const reserving = "cheapest-meeting-reserves";
const reservingAs: BaselineName = "cheapest-meeting";

/** Everybody by the name of the policy: ours first. */
export const contestants: ReadonlyMap<string, Contestant> = new Map([
  ...Object.entries(ownWays).map(([policy, { name, dispatchers }]): [string, Contestant] => [
    policy,
    {
      name,
      source: "–",
      family: "ours",
      settings: [{ policy, variant: "as shipped", reportIntervalMs: OUR_REPORTS_MS, dispatchers }],
    },
  ]),
  ...Object.entries(byName).flatMap(([policy, baseline]): [string, Contestant][] =>
    policy in sameAs
      ? []
      : [
          [
            policy,
            {
              name: [baseline.name, ...othersLike(policy)].join("; "),
              source: baseline.source,
              family: familyBySource[baseline.source] ?? "references",
              settings: settingsOf(policy, baseline),
            },
          ],
        ],
  ),
  [
    reserving,
    {
      name: `${baselines[reservingAs].name}, with our reserves`,
      source: baselines[reservingAs].source,
      family: "mixed",
      settings: settingsOf(reserving, baselines[reservingAs]),
    },
  ],
]);

function othersLike(policy: string): string[] {
  return Object.entries(sameAs).flatMap(([other, same]) =>
    same === policy ? [byName[other]?.name ?? other] : [],
  );
}

/** Each variant at the interval of its peer and again at ours. A peer without one uses no reports: ours will do. */
function settingsOf(policy: string, { reportIntervalMs, variants }: Baseline): Setting[] {
  const intervals = new Set([reportIntervalMs ?? OUR_REPORTS_MS, OUR_REPORTS_MS]);
  return Object.keys(variants).flatMap((variant) =>
    [...intervals].map((each) => ({ policy, variant, reportIntervalMs: each, dispatchers: 1 })),
  );
}

/** How often pools report in a run: a policy that looks less often than our agents report leaves some unread. */
export function worldIntervalMs({ reportIntervalMs }: Setting): number {
  return Math.min(reportIntervalMs, OUR_REPORTS_MS);
}

/** Time spent choosing. */
export interface Picks {
  count: number;
  busyMs: number;
}

/** What makes the dispatchers of one run choose; all of them count into `picks`. */
export function rivalsOf(
  { policy, variant, reportIntervalMs }: Setting,
  { seed, picks }: { readonly seed: number; readonly picks: Picks },
): (replica: ReplicaId) => Rival {
  if (policy === ours || policy === oursByFour) {
    return () => timed({ choose: chooser() }, picks);
  }
  const baseline = byName[policy === reserving ? reservingAs : policy];
  const make: MakeRival | undefined = baseline?.variants[variant];
  if (make === undefined)
    throw new Error(`expected a policy and variant, found ${policy}, ${variant}`);
  const endpoints = new Endpoints();
  const isAsPeer = reportIntervalMs === (baseline?.reportIntervalMs ?? OUR_REPORTS_MS);
  const looks = isAsPeer ? {} : { reportIntervalMs };
  const freed = policy === reserving ? (rival: Rival) => rival : unreserved;
  return (replica) => timed(freed(make({ seed, replica, endpoints, ...looks })), picks);
}

/** Which classes leave the last slots is our policy, not a rule that all keep to: a peer's knows nothing of it. */
export function unreserved({ choose, ...rest }: Rival): Rival {
  let known: { readonly policy: Policy; readonly without: Policy } | undefined;
  return {
    ...rest,
    choose: (request, snapshot, policy) => {
      if (known?.policy !== policy) known = { policy, without: withoutReserves(policy) };
      return choose(request, snapshot, known.without);
    },
  };
}

/** The bench's policy has no overrides that could bring them back. */
function withoutReserves(policy: Policy): Policy {
  const { objectives } = policy;
  const free = serviceClasses.map((each) => [
    each,
    { ...objectives[each], slotsUsedRatioMax: 1 },
  ]) satisfies [string, unknown][];
  return { ...policy, objectives: Object.fromEntries(free) as Policy["objectives"] };
}

function timed({ choose, ...rest }: Rival, picks: Picks): Rival {
  return {
    ...rest,
    choose: (request, snapshot, policy) => {
      const startedAt = performance.now();
      const decision = choose(request, snapshot, policy);
      picks.busyMs += performance.now() - startedAt;
      picks.count += 1;
      return decision;
    },
  };
}
