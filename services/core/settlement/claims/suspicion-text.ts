import { entries } from "../../table.ts";
import { canonicalJson } from "../canonical.ts";
import { openEProcess, type EProcess } from "./e-process.ts";
import { checks, type AuditMode, type CheckName, type Flag, type Suspicion } from "./suspicion.ts";

/** What is known of the models of one vendor after a period: the document `suspicion`. */
export interface SuspicionRecord {
  /** Name of the period whose evidence was the last to be added. */
  readonly period: string;
  readonly byModel: ReadonlyMap<string, Suspicion>;
}

/** Doubles are written as the shortest text that reads back to the same. */
export function toSuspicionText({ period, byModel }: SuspicionRecord): string {
  return canonicalJson({
    type: "suspicion",
    v: "1",
    period,
    models: Object.fromEntries([...byModel].map(([model, each]) => [model, membersOf(each)])),
  });
}

/** Only for texts that `toSuspicionText` wrote. A check that did not exist then starts anew. */
export function fromSuspicionText(text: string): SuspicionRecord {
  const { period, models } = JSON.parse(text) as {
    readonly period: string;
    readonly models: Readonly<Record<string, Members>>;
  };
  return {
    period,
    byModel: new Map(Object.entries(models).map(([model, members]) => [model, read(members)])),
  };
}

type Members = Readonly<Record<"stream" | "mode", string>> & {
  readonly processes: Readonly<Record<string, ProcessMembers>>;
  readonly density: Readonly<Record<"records" | "mean" | "squares", string>>;
  readonly flag: Readonly<Record<"check" | "records" | "evidence", string>> | null;
};

type ProcessMembers = Readonly<Record<"epoch" | "seen" | "total", string>> & {
  readonly wealth: readonly string[];
};

function membersOf({ stream, mode, processes, density, flag }: Suspicion): Members {
  const written = entries(processes).map(([name, { epoch, seen, total, wealth }]) => [
    name,
    { epoch: `${epoch}`, seen: `${seen}`, total: `${total}`, wealth: wealth.map(String) },
  ]);
  return {
    stream: `${stream}`,
    mode,
    processes: Object.fromEntries(written) as Readonly<Record<CheckName, ProcessMembers>>,
    density: {
      records: `${density.records}`,
      mean: `${density.mean}`,
      squares: `${density.squares}`,
    },
    flag:
      flag === undefined
        ? null
        : { check: flag.check, records: `${flag.records}`, evidence: `${flag.evidence}` },
  };
}

function read({ stream, mode, processes, density, flag }: Members): Suspicion {
  const known = entries(checks).map(([name, { honestMean }]) => {
    const members = processes[name];
    return [name, members === undefined ? openEProcess(honestMean) : process(members, honestMean)];
  });
  return {
    stream: Number(stream),
    mode: mode as AuditMode,
    processes: Object.fromEntries(known) as Record<CheckName, EProcess>,
    density: {
      records: Number(density.records),
      mean: Number(density.mean),
      squares: Number(density.squares),
    },
    flag: flag === null ? undefined : flagOf(flag),
  };
}

function process({ epoch, seen, total, wealth }: ProcessMembers, honestMean: number): EProcess {
  return {
    honestMean,
    epoch: Number(epoch),
    seen: Number(seen),
    total: Number(total),
    wealth: wealth.map(Number),
  };
}

function flagOf({ check, records, evidence }: NonNullable<Members["flag"]>): Flag {
  return { check: check as CheckName, records: Number(records), evidence: Number(evidence) };
}
