/** Where benchmarks leave their results: one JSON line each, with what is needed to judge it. */

import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg } from "node:os";

export const resultsPath = "bench/results.jsonl";

export interface Measurement {
  /** `<benchmark>/<case>`, stable: the table of bench/README.md is keyed by it. */
  readonly name: string;
  readonly unit: string;
  /** The median of the rounds, never one run. */
  readonly value: number;
  /** What else was true: rounds, connections, pools, the peer's version … */
  readonly conditions: Readonly<Record<string, string | number | boolean>>;
}

export interface Result extends Measurement {
  readonly at: string;
  /** Of the sources that ran; ends in `+` when the tree had changes that are not committed. */
  readonly commit: string;
  readonly node: string;
  readonly cpu: string;
  readonly cores: number;
  /** One-minute load average when the result was written: a busy machine explains an outlier. */
  readonly load: number;
}

/** Appends one result with the conditions of this machine, and prints it as a line for people. */
export function appendResult(measurement: Measurement, path: string = resultsPath): Result {
  const { name, unit, value } = measurement;
  if (!Number.isFinite(value)) throw new Error(`${name}: expected a finite number, found ${value}`);
  const result: Result = {
    at: new Date().toISOString(),
    ...measurement,
    commit: commit(),
    node: process.versions.node,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  };
  appendFileSync(path, `${JSON.stringify(result)}\n`);
  console.log(`${name.padEnd(44)} ${toText(value).padStart(12)} ${unit}`);
  return result;
}

/** All results so far, oldest first. None were made yet: an empty list. */
export function readResults(path: string = resultsPath): readonly Result[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Result);
}

/** Four significant digits, thousands apart: 28,140 · 3.142 · 0.01235. */
export function toText(value: number): string {
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(4)));
}

/** Of the tree; ends in `+` when something below these paths has changes that are not committed. */
export function commit(paths: readonly string[] = ["services", "proto"]): string {
  try {
    const id = git("rev-parse", "--short=12", "HEAD");
    const isChanged = git("status", "--porcelain", "--untracked-files=no", ...paths) !== "";
    return isChanged ? `${id}+` : id;
  } catch {
    // An unpacked archive has no history; the result is still worth keeping.
    return "unknown";
  }
}

function git(...args: string[]): string {
  return execFileSync("git", args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  }).trim();
}
