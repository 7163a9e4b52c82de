import { assert } from "../../assert.ts";

/**
 * Bets against an honest mean. While the mean of `x`, given all that went before, is at most `honestMean`, the wealth
 * is a supermartingale from 1: it ever reaches 1/α with a probability of at most α, however often one looks and
 * whenever one stops (Ville). `x` is 0 or more and otherwise anything: it needs no variance, no distribution.
 *
 * An honest past is no credit: wealth that was lost is forgotten at the end of an epoch. Epoch `j` is flagged at
 * `j(j+1)` times the threshold, and since the parts 1/j(j+1) add up to 1, all epochs together keep to α.
 */
export interface EProcess {
  readonly honestMean: number;
  /** From 1. */
  readonly epoch: number;
  /** In this epoch. */
  readonly seen: number;
  /** In all. */
  readonly total: number;
  /** Of each bet; their mean is the evidence. */
  readonly wealth: readonly number[];
}

/** Observations of an epoch. */
export const epochLength = 10_000;

/**
 * Parts of the largest bet that cannot lose everything: small ones find small biases under much noise, large ones find
 * large biases fast. What is right is not known, so they share the stake.
 */
const boldness = [0.02, 0.1, 0.3, 0.6, 0.9] as const;

/** Beyond it, it is flagged anyway. */
const wealthMax = 1e200;

export function openEProcess(honestMean: number): EProcess {
  assert(honestMean > 0, "an honest mean is above 0");
  return { honestMean, epoch: 1, seen: 0, total: 0, wealth: boldness.map(() => 1) };
}

export function observe(process: EProcess, x: number): EProcess {
  assert(x >= 0, "what is observed is 0 or more");
  const { honestMean, total } = process;
  const isOver = process.seen === epochLength;
  const epoch = isOver ? process.epoch + 1 : process.epoch;
  const before = isOver ? boldness.map(() => 1) : process.wealth;
  const by = x / honestMean - 1;
  const wealth = boldness.map((part, bet) =>
    Math.min(wealthMax, (before[bet] ?? 1) * (1 + part * by)),
  );
  return { honestMean, epoch, seen: isOver ? 1 : process.seen + 1, total: total + 1, wealth };
}

/** The E that is compared with a threshold: at its part of α, 1 in `thresholdOf` honest ones gets there. */
export function evidenceOf({ wealth }: EProcess): number {
  return wealth.reduce((sum, each) => sum + each, 0) / wealth.length;
}

/** Where this epoch is flagged, if the process has that part of false alarms to itself. */
export function thresholdOf({ epoch }: EProcess, alpha: number): number {
  return (epoch * (epoch + 1)) / alpha;
}

export function isFlagged(process: EProcess, alpha: number): boolean {
  return evidenceOf(process) >= thresholdOf(process, alpha);
}
