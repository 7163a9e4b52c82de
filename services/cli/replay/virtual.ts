import type { Policy } from "../../core/placement/policy.ts";
import type { Report } from "../../core/report.ts";
import { defaultPolicyYaml, parsePolicy } from "../../io/policy-file.ts";
import { replayVirtual, type TraceOptions } from "../../sim/main.ts";
import { readText } from "../document.ts";
import { Refusal } from "../outcome.ts";
import { openProgress } from "./progress.ts";
import { surveyed } from "./survey.ts";

export interface VirtualOptions {
  readonly trace: TraceOptions;
  readonly model: string;
  readonly fleetPath: string | undefined;
  /** Undefined: the shipped policy. */
  readonly policyPath: string | undefined;
  readonly density: number;
  readonly startAt: number;
  readonly inFlightMax: number;
}

/** The report of a replay that never left this process. */
export async function replayInVirtualTime(options: VirtualOptions): Promise<Report> {
  const { density, policyPath, ...rest } = options;
  const policy = policyOf(policyPath);
  const { requests } = await surveyed(options.trace);
  const startedAt = performance.now();
  let answered = 0;
  const etaMs = () => {
    const gone = performance.now() - startedAt;
    return answered === 0 ? 0 : (gone / answered) * (requests - answered);
  };
  const progress = openProgress({ total: requests, etaMs });
  try {
    return await replayVirtual({
      ...rest,
      policy,
      speed: density,
      onAnswer: ({ outcome }) => {
        answered += 1;
        progress.answered(outcome === "ok");
      },
    });
  } finally {
    progress.stop();
  }
}

function policyOf(path: string | undefined): Policy {
  const parsed = parsePolicy(path === undefined ? defaultPolicyYaml() : readText(path), 1);
  if ("policy" in parsed) return parsed.policy;
  const mistakes = parsed.mistakes.map(({ path: place, message }) => `  ${place}: ${message}`);
  throw new Refusal([`${path ?? "the shipped policy"} is refused:`, ...mistakes].join("\n"));
}
