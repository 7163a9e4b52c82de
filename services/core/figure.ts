import type { Instant } from "./units.ts";

export type FigureSource = "measured" | "declared" | "estimated";

/** One number about a pool and why it may be believed. Its unit is in the name of its field. */
export interface Figure {
  readonly value: number;
  readonly source: FigureSource;
  /** On our clock: the receipt less the age that the report gave. */
  readonly observedAt: Instant;
  readonly validMs: number;
}

/** 1 while the figure is valid, then down in a straight line to 0 when it is twice as old. */
export function confidence(figure: Figure, now: Instant): number {
  const overdueMs = now - figure.observedAt - figure.validMs;
  return Math.min(1, Math.max(0, 1 - overdueMs / figure.validMs));
}
