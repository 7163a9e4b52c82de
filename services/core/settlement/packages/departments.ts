import { largestRemainder } from "../ratio.ts";
import { ppmWhole } from "./split.ts";

/**
 * - `hard`: units move into a wallet of its own, and it may use no others.
 * - `cap`: it uses the wallet above it, up to so much over the package's life.
 * - `guarantee`: units move into a wallet of its own; beyond them it borrows from the wallet above it.
 */
export type AllotmentMode = "hard" | "cap" | "guarantee";

/** What one department, project or scenario may use of a package. */
export interface Allotment {
  /** `<department>`, `<department>/<project>` or `<department>/<project>/<scenario>`. */
  readonly path: string;
  readonly mode: AllotmentMode;
  /** In the grain of the package's unit. */
  readonly units: bigint;
}

/** As it is asked for: units, or a part of what no units were asked for. */
export interface AllotmentAsk {
  readonly path: string;
  readonly mode: AllotmentMode;
  readonly units: bigint | undefined;
  /** Millionths of the free units that are not allotted by number; of the whole package for a cap. */
  readonly ppm: bigint | undefined;
}

/** Whose usage it is. */
export interface UsageKey {
  readonly department: string;
  readonly project: string;
  readonly scenario: string;
}

/** Free units of a wallet. */
export interface WalletUnits {
  readonly path: string;
  readonly free: bigint;
}

/** Units from one wallet of a package to another. */
export interface WalletMove {
  readonly from: string;
  readonly to: string;
  readonly units: bigint;
}

export type AllocationPlan =
  | {
      readonly kind: "planned";
      readonly allotments: readonly Allotment[];
      readonly moves: readonly WalletMove[];
    }
  | { readonly kind: "refused"; readonly reason: string };

/** Allotments of one package. */
export const allotmentsMax = 256;

/** Path of the wallet that is nobody's own. */
export const shared = "";

/** Whether a key's usage is that of a path: the path is how the key's own begins. */
export function isOf(path: string, { department, project, scenario }: UsageKey): boolean {
  return isBelow([department, project, scenario].join("/"), path);
}

/** Whether a path is another, or below it. */
export function isBelow(path: string, other: string): boolean {
  return path === other || path.startsWith(`${other}/`);
}

/** Allotments of a key, the one that says most first. */
export function allotmentsOf(plan: readonly Allotment[], key: UsageKey): Allotment[] {
  return plan
    .filter(({ path }) => isOf(path, key))
    .toSorted((a, b) => b.path.split("/").length - a.path.split("/").length);
}

/**
 * What each is to have, and the transfers that bring it about. Percentages are of the free units that are not asked for by
 * number, by largest remainder, so that they add up exactly; what nobody asks for is shared. Units that are held stay
 * where they are.
 */
export function planAllocation(
  asks: readonly AllotmentAsk[],
  wallets: readonly WalletUnits[],
  quantity: bigint,
): AllocationPlan {
  const mistake = asksMistake(asks);
  if (mistake !== undefined) return { kind: "refused", reason: mistake };
  const free = wallets.reduce((sum, wallet) => sum + wallet.free, 0n);
  const reserved = asks
    .filter(({ mode }) => mode !== "cap")
    .reduce((sum, { units }) => sum + (units ?? 0n), 0n);
  if (reserved > free) {
    return {
      kind: "refused",
      reason: `allotments: expected at most ${free} units that are free, found ${reserved}`,
    };
  }
  const parts = percentParts(asks, free - reserved);
  const allotments = asks.map(({ path, mode, units, ppm }) => {
    const part = mode === "cap" ? (quantity * (ppm ?? 0n)) / ppmWhole : parts.get(path);
    return { path, mode, units: units ?? part ?? 0n };
  });
  return { kind: "planned", allotments, moves: movesTo(allotments, wallets) };
}

/** Largest remainder over the percentages and what they leave. Equal remainders by path; the rest comes last. */
function percentParts(asks: readonly AllotmentAsk[], rest: bigint): ReadonlyMap<string, bigint> {
  const shares = asks
    .filter(({ mode, ppm }) => mode !== "cap" && ppm !== undefined)
    .toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const weights = shares.map(({ ppm }) => ppm ?? 0n);
  const left = ppmWhole - weights.reduce((sum, each) => sum + each, 0n);
  const parts = largestRemainder(rest, [...weights, left]);
  return new Map(shares.map(({ path }, index) => [path, parts[index] ?? 0n]));
}

/** Everybody's surplus to the shared wallet first, then from it to who is to have more. */
function movesTo(allotments: readonly Allotment[], wallets: readonly WalletUnits[]): WalletMove[] {
  const target = new Map(
    allotments.map(({ path, mode, units }) => [path, mode === "cap" ? 0n : units]),
  );
  const freeByPath = new Map(wallets.map(({ path, free }) => [path, free]));
  const paths = new Set([...target.keys(), ...freeByPath.keys()]);
  paths.delete(shared);
  const back: WalletMove[] = [];
  const out: WalletMove[] = [];
  for (const path of [...paths].toSorted()) {
    const change = (target.get(path) ?? 0n) - (freeByPath.get(path) ?? 0n);
    if (change < 0n) back.push({ from: path, to: shared, units: -change });
    if (change > 0n) out.push({ from: shared, to: path, units: change });
  }
  return [...back, ...out];
}

/** Names of up to three levels; those above the last may be empty, as the key's are. */
const pathForm = /^(?:[^/:%\s\p{Cc}]{0,64}\/){0,2}[^/:%\s\p{Cc}]{1,64}$/u;

function asksMistake(asks: readonly AllotmentAsk[]): string | undefined {
  if (asks.length > allotmentsMax) {
    return `allotments: expected at most ${allotmentsMax}, found ${asks.length}`;
  }
  const seen = new Set<string>();
  for (const [index, { path, units, ppm }] of asks.entries()) {
    const where = `allotments[${index}]`;
    if (!pathForm.test(path)) {
      return `${where}.path: expected <department>[/<project>[/<scenario>]], found "${path}"`;
    }
    if (seen.has(path)) return `${where}.path: ${path} is there twice`;
    seen.add(path);
    if ((units === undefined) === (ppm === undefined)) {
      return `${where}: expected units or ppm, one of the two`;
    }
    if ((units ?? 0n) < 0n || (ppm ?? 0n) < 0n) return `${where}: expected 0 or more`;
  }
  const sum = asks.reduce((all, { mode, ppm }) => (mode === "cap" ? all : all + (ppm ?? 0n)), 0n);
  const most = asks.some(({ mode, ppm }) => mode === "cap" && (ppm ?? 0n) > ppmWhole);
  if (sum <= ppmWhole && !most) return undefined;
  return `allotments: expected at most ${ppmWhole} ppm together, found ${sum}`;
}

/** What was paid as one goes, shared out by what each used: parts add up exactly, equal remainders by path. */
export function shareOut(
  amountNano: bigint,
  usage: readonly { readonly path: string; readonly weight: bigint }[],
): ReadonlyMap<string, bigint> {
  const inOrder = usage.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const parts = largestRemainder(
    amountNano,
    inOrder.map(({ weight }) => weight),
  );
  return new Map(inOrder.map(({ path }, index) => [path, parts[index] ?? 0n]));
}
