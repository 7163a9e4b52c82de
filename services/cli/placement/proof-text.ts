import { placedIn } from "../../core/effect-text.ts";
import { fromDecision } from "../../wire/decision.ts";
import { DecisionRecordSchema } from "../../wire/gen/tokengrid/v1/placement_pb.js";
import { explanation } from "../explain-text.ts";
import { localTime } from "../period.ts";
import { grouped, jsonOf, textCard, textTable, yuan } from "../print.ts";
import type { Difference, Proof, Stretch } from "./proof.ts";

/** Field names are API. Instants are milliseconds since 1970, costs text, digests hexadecimal. */
export function proofJson(proof: Proof): Readonly<Record<string, unknown>> {
  return {
    isProven: proof.isProven,
    fromMs: proof.fromMs,
    toMs: proof.toMs,
    events: proof.events,
    decisions: proof.decisions,
    differing: proof.differing,
    unsaid: proof.unsaid,
    skipped: proof.skipped,
    gaps: proof.gaps,
    losses: proof.losses.map(({ kind: _kind, ...loss }) => loss),
    stretches: proof.stretches,
    ...(proof.first === undefined ? {} : { firstDifference: differenceJson(proof.first) }),
  };
}

function differenceJson({ event, recorded, replayed, decision }: Difference): unknown {
  return {
    event: event.kind,
    atMs: event.at,
    recorded,
    replayed,
    ...(decision === undefined
      ? {}
      : { decision: jsonOf(DecisionRecordSchema, recordOf(decision, event.at)) }),
  };
}

function recordOf(decision: NonNullable<Difference["decision"]>, now: number) {
  return fromDecision(decision, { now, decidedBy: "control" });
}

export function proofText(proof: Proof, source: string, isWide: boolean): string {
  return [
    textCard([
      ["journal", source],
      ["time", proof.fromMs === undefined ? "-" : `${at(proof.fromMs)} to ${at(proof.toMs)}`],
      ["replayed", `${grouped(proof.events)} events, ${grouped(proof.decisions)} decisions`],
      ["the same", sameness(proof)],
      ["state", states(proof.stretches)],
      ...(proof.skipped === 0
        ? []
        : [
            [
              "not replayed",
              `${grouped(proof.skipped)} events: no image stands before them`,
            ] as const,
          ]),
      ...gaps(proof),
      ...losses(proof),
      ["proven", verdict(proof)],
    ]),
    ...(isWide ? [`\n${stretchTable(proof.stretches)}`] : []),
    ...(proof.first === undefined ? [] : [`\n${difference(proof.first)}`]),
  ].join("");
}

function sameness({ events, differing, unsaid }: Proof): string {
  const same = `${grouped(events - differing - unsaid)} of ${grouped(events)} answers, bit for bit`;
  return unsaid === 0
    ? same
    : `${same}; of ${grouped(unsaid)} the journal does not say what they were`;
}

function states(stretches: readonly Stretch[]): string {
  const compared = stretches.filter(({ isStateSame }) => isStateSame !== undefined);
  if (compared.length === 0) return "one image, nothing to compare it with";
  const same = compared.filter(({ isStateSame }) => isStateSame === true).length;
  return `the same as ${grouped(same)} of ${grouped(compared.length)} later images, to the last figure`;
}

function gaps({ gaps: all }: Proof): (readonly [string, string])[] {
  return all.map(
    ({ afterMs, dropped }) =>
      [
        "gap",
        `${grouped(dropped)} events were dropped while the disk was behind, after ${at(afterMs)}`,
      ] as const,
  );
}

const lossWords = {
  "torn-tail": "the last write was cut, as by a crash",
  flipped: "a check sum does not fit: bytes were changed",
  "missing-segment": "a file is missing",
  "torn-image": "an image was not written to its end",
  unreadable: "not written by this version",
} as const;

function losses({ losses: all }: Proof): (readonly [string, string])[] {
  return all.map(({ position, bytes, reason }) => {
    const where = Number.isNaN(position) ? "" : ` at byte ${grouped(position)}`;
    const size = bytes === 0 ? "" : `${grouped(bytes)} bytes`;
    return ["lost", `${size}${where}: ${lossWords[reason]}`.trim()] as const;
  });
}

function verdict(proof: Proof): string {
  if (proof.isProven) return "yes: every decision that is recorded came out again";
  if (proof.decisions === 0) return "no: there is no decision to replay";
  if (proof.differing > 0) return `no: ${grouped(proof.differing)} answers came out differently`;
  if (proof.unsaid > 0) return "no: the journal does not have every answer";
  return "no: parts of the journal are lost";
}

function stretchTable(stretches: readonly Stretch[]): string {
  return textTable(
    [
      { name: "FROM" },
      { name: "EVENTS", align: "right" },
      { name: "DECISIONS", align: "right" },
      { name: "RECORDED" },
      { name: "REPLAYED" },
      { name: "STATE BEHIND" },
    ],
    stretches.map((each) => [
      at(each.fromMs),
      grouped(each.events),
      grouped(each.decisions),
      each.recorded.slice(0, 16),
      each.replayed.slice(0, 16),
      each.isStateSame === undefined ? "-" : each.isStateSame ? "same" : "DIFFERENT",
    ]),
  );
}

/** The recorded bill is its total; its terms come from the decision as it was made again. */
function difference({ event, recorded, replayed, decision }: Difference): string {
  const head = `FIRST DIFFERENCE: ${event.kind} at ${at(event.at)}\n`;
  const lines = textCard([
    ["recorded", answerText(recorded)],
    ["replayed", answerText(replayed)],
  ]);
  if (decision === undefined) return `${head}${lines}`;
  const record = recordOf(decision, event.at);
  const pools = [placedIn(recorded)?.pool, placedIn(replayed)?.pool];
  const bills = record.candidates.filter(({ poolId }) => pools.includes(poolId));
  const shown = { ...record, candidates: bills.length === 0 ? record.candidates : bills };
  return `${head}${lines}\n${explanation(shown, true)}`;
}

function answerText(text: string): string {
  const placed = placedIn(text);
  if (placed === undefined) return text === "" ? "nothing" : text;
  return `${placed.pool} at ${yuan(BigInt(placed.costNano))} CNY (${text})`;
}

export function at(ms: number | undefined): string {
  return ms === undefined ? "-" : localTime(BigInt(Math.floor(ms)) * 1_000n);
}
