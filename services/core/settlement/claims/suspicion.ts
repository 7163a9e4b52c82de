import { entries } from "../../table.ts";
import { evidenceOf, isFlagged, observe, openEProcess, type EProcess } from "./e-process.ts";
import { noText, textBytesMin, withText, type TextDensity } from "./text-density.ts";

/** What is known of one attempt of a vendor and a model. Undefined is not known: that test then does not look. */
export interface Sighting {
  /** Output by our count, whatever its witness. */
  readonly ours: bigint;
  /** Output as claimed. */
  readonly theirs: bigint;
  /** Of all text of the answer. */
  readonly bytes: bigint | undefined;
  /** Output tokens per byte that are honest for the model: the upper bound of a reference. */
  readonly densityMost: number | undefined;
  /** Token ids that were returned, and how many the text of these ids encodes to. */
  readonly ids: { readonly returned: bigint; readonly canonical: bigint } | undefined;
  /** Whether this pool has seen the prompt's first blocks before, and how much was claimed to come from its cache. */
  readonly cache: { readonly isFirstSeen: boolean; readonly cached: bigint } | undefined;
}

/** A test of one stream of attempts. Its honest mean is what an honest vendor stays below. */
interface Check {
  readonly honestMean: number;
  /** Undefined: this attempt says nothing to it. */
  readonly read: (sighting: Sighting) => number | undefined;
  readonly about: string;
}

/**
 * The honest means are generous: a vendor may be 0.2 % above us on average, and more often above than below by one in
 * a hundred. What is beyond is found in the number of records that the tests print.
 */
export const checks = {
  ratio: {
    honestMean: 1.002,
    read: ({ ours, theirs }) => (ours === 0n ? undefined : Number(theirs) / Number(ours)),
    about: "claimed output per counted output",
  },
  /** One token more on each record is nothing on long ones, but it is always more. */
  direction: {
    honestMean: 1.01,
    read: ({ ours, theirs }) => (theirs > ours ? 2 : theirs === ours ? 1 : 0),
    about: "claims above our count against claims below it",
  },
  density: {
    honestMean: 1,
    read: ({ theirs, bytes, densityMost }) =>
      bytes === undefined || densityMost === undefined || bytes < textBytesMin
        ? undefined
        : Number(theirs) / Number(bytes) / densityMost,
    about: "claimed output per byte of text, of what the reference has at most",
  },
  /** Sampled tokens are now and then not those that an encoder would take. */
  canonical: {
    honestMean: 1.005,
    read: ({ ids }) =>
      ids === undefined || ids.canonical === 0n
        ? undefined
        : Number(ids.returned) / Number(ids.canonical),
    about: "token ids per id that their text needs",
  },
  /** Our index forgets, and other operators' prompts fill the same cache: one in twenty. */
  "first-seen": {
    honestMean: 0.05,
    read: ({ cache }) => (cache?.isFirstSeen === true ? Number(cache.cached > 0n) : undefined),
    about: "cached tokens of prompts that the pool has not seen",
  },
  /** A cache evicts: half of what was seen before may be gone. */
  "never-cached": {
    honestMean: 0.5,
    read: ({ cache }) => (cache?.isFirstSeen === false ? Number(cache.cached === 0n) : undefined),
    about: "prompts that the pool has seen, without a cached token",
  },
} as const satisfies Record<string, Check>;

export type CheckName = keyof typeof checks;

export interface Flag {
  readonly check: CheckName;
  /** What was observed of it until then. */
  readonly records: number;
  readonly evidence: number;
}

/** In audit every answer is recounted and token ids are required, until an operator has looked. */
export type AuditMode = "normal" | "audit";

/** What is remembered of one vendor and one model. A value: the same sightings in the same order give the same. */
export interface Suspicion {
  /** Of the streams of the operator, from 1 in the order in which they came. */
  readonly stream: number;
  readonly mode: AuditMode;
  readonly processes: Readonly<Record<CheckName, EProcess>>;
  readonly density: TextDensity;
  /** That led to the audit. */
  readonly flag: Flag | undefined;
}

/** Of all honest vendors, models, checks and looks together, the part that is ever flagged. */
export const falseAlarms = 0.05;

export function noSuspicion(stream: number): Suspicion {
  const processes = entries(checks).map(([name, { honestMean }]) => [
    name,
    openEProcess(honestMean),
  ]);
  return {
    stream,
    mode: "normal",
    processes: Object.fromEntries(processes) as Record<CheckName, EProcess>,
    density: noText,
    flag: undefined,
  };
}

/** Stream `i` has 1/i(i+1) of the false alarms, its checks share it: so all that ever come keep to the whole. */
export function alphaOf(stream: number): number {
  return falseAlarms / (stream * (stream + 1)) / entries(checks).length;
}

export function suspect(before: Suspicion, sighting: Sighting): Suspicion {
  const processes: Record<CheckName, EProcess> = { ...before.processes };
  const alpha = alphaOf(before.stream);
  let { flag } = before;
  for (const [name, { read }] of entries(checks)) {
    const x = read(sighting);
    if (x === undefined) continue;
    const process = observe(processes[name], x);
    processes[name] = process;
    if (flag === undefined && isFlagged(process, alpha)) {
      flag = { check: name, records: process.total, evidence: evidenceOf(process) };
    }
  }
  return {
    ...before,
    mode: flag === undefined ? before.mode : "audit",
    processes,
    density: densityWith(before.density, sighting),
    flag,
  };
}

/** An operator has looked. What was lost and won is over: the next epoch starts, at its own threshold. */
export function cleared(suspicion: Suspicion): Suspicion {
  const processes = entries(suspicion.processes).map(([name, process]) => [
    name,
    { ...openEProcess(process.honestMean), epoch: process.epoch + 1, total: process.total },
  ]);
  return {
    ...suspicion,
    mode: "normal",
    processes: Object.fromEntries(processes) as Record<CheckName, EProcess>,
    flag: undefined,
  };
}

function densityWith(density: TextDensity, { theirs, bytes }: Sighting): TextDensity {
  if (bytes === undefined || bytes < textBytesMin) return density;
  return withText(density, Number(theirs) / Number(bytes));
}
