import { decide, type Decision } from "../../core/placement/decide.ts";
import type { Policy } from "../../core/placement/policy.ts";
import type { PlacementRequest } from "../../core/placement/request.ts";
import {
  UnplaceableReason,
  type DecisionRecord,
} from "../../wire/gen/tokengrid/v1/placement_pb.js";
import { enumWord, textTable } from "../print.ts";
import type { Fixture } from "./fixture-file.ts";
import { Fleets, requestOf } from "./fixture-fleet.ts";

/** How a request comes out under one policy. */
interface Outcome {
  /** Undefined: unplaceable. */
  readonly pool: string | undefined;
  readonly reason: string | undefined;
  readonly row: string | undefined;
  readonly costNano: number | undefined;
}

/** A request that comes out otherwise. */
export interface Turn {
  readonly name: string;
  readonly before: Outcome;
  readonly after: Outcome;
}

export interface Effect {
  readonly requests: number;
  readonly turns: readonly Turn[];
}

/** Decides all requests of the files under both policies, on the fleets that the cases name. */
export function effectOf(
  fixtures: readonly Fixture[],
  before: (fixture: Fixture) => Policy,
  after: (fixture: Fixture) => Policy,
): Effect {
  const fleets = new Fleets();
  const both = fixtures.flatMap((fixture) => {
    const [was, is] = [before(fixture), after(fixture)];
    return fixture.cases.map((each): Turn => {
      const outcome = (policy: Policy): Outcome => {
        const { request, snapshot } = fleets.questionOf(fixture, each, policy);
        return outcomeOf(decide(request, snapshot, policy));
      };
      return { name: each.name, before: outcome(was), after: outcome(is) };
    });
  });
  return counted(both);
}

/**
 * The same requests on the pools of a running replica as they are now, whatever the cases change about their own fleets.
 * A request that the server refuses, such as one from a place that its map does not have, is refused under both.
 */
export async function liveEffectOf(
  fixtures: readonly Fixture[],
  plan: (request: PlacementRequest, policyYaml: string) => Promise<DecisionRecord | undefined>,
  texts: { readonly before: string; readonly after: string },
): Promise<Effect> {
  const turns: Turn[] = [];
  for (const fixture of fixtures) {
    for (const each of fixture.cases) {
      const request = requestOf(fixture, each);
      const [before, after] = await Promise.all(
        [texts.before, texts.after].map(async (yaml) => recordedIn(await plan(request, yaml))),
      );
      if (before && after) turns.push({ name: each.name, before, after });
    }
  }
  return counted(turns);
}

function recordedIn(record: DecisionRecord | undefined): Outcome {
  if (record === undefined) {
    return { pool: undefined, reason: "refused", row: undefined, costNano: undefined };
  }
  const chosen = record.candidates.find(({ poolId }) => poolId === record.poolId);
  return {
    pool: chosen?.poolId,
    reason:
      chosen === undefined ? enumWord(UnplaceableReason[record.unplaceableReason]) : undefined,
    row: record.policyRow?.rowId,
    costNano: chosen === undefined ? undefined : Number(chosen.costNano),
  };
}

function counted(all: readonly Turn[]): Effect {
  const turns = all.filter(
    ({ before, after }) =>
      before.pool !== after.pool || before.reason !== after.reason || before.row !== after.row,
  );
  return { requests: all.length, turns };
}

function outcomeOf(decision: Decision): Outcome {
  const row = decision.policyRow?.id;
  return decision.kind === "placed"
    ? { pool: decision.pool, reason: undefined, row, costNano: decision.costNano }
    : { pool: undefined, reason: decision.reason, row, costNano: undefined };
}

export function effectText({ requests, turns }: Effect): string {
  const elsewhere = turns.filter(({ before, after }) => before.pool !== after.pool);
  const lost = elsewhere.filter(({ after }) => after.pool === undefined).length;
  const won = elsewhere.filter(({ before }) => before.pool === undefined).length;
  const counts =
    `of ${requests} requests ${elsewhere.length - lost - won} go to another pool, ` +
    `${lost} to none any more, ${won} to one at last; ${turns.length - elsewhere.length} for another reason\n`;
  if (turns.length === 0) return counts;
  const columns = [{ name: "REQUEST" }, { name: "BEFORE" }, { name: "AFTER" }];
  const rows = turns.map(({ name, before, after }) => [name, words(before), words(after)]);
  return `${counts}\n${textTable(columns, rows)}`;
}

function words({ pool, reason, row }: Outcome): string {
  return `${pool ?? `none: ${reason ?? ""}`} by ${row ?? "no row"}`;
}
