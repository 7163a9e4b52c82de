import type { ReportBuilder } from "../core/report.ts";
import type { CostedTokens } from "../core/run-cost.ts";
import { noTokens, type AttemptEnd } from "../core/settlement/counting/usage.ts";
import type { PoolId } from "../core/units.ts";

interface Sum {
  readonly pool: PoolId;
  readonly end: AttemptEnd;
  attempts: number;
  uncached: number;
  cached: number;
  output: number;
  pico: bigint;
  joules: number;
}

/** What is owed to each pool when nothing is ledgered: as the books would have it, but for rounding. */
export class Unledgered {
  readonly #sums = new Map<PoolId, Map<AttemptEnd, Sum>>();

  add(
    pool: PoolId,
    end: AttemptEnd,
    attempt: {
      readonly tokens: CostedTokens | undefined;
      readonly pico: number;
      readonly joules: number;
    },
  ): void {
    const sum = this.#sumOf(pool, end);
    const { tokens, pico, joules } = attempt;
    sum.attempts += 1;
    sum.joules += joules;
    if (tokens === undefined) return;
    sum.uncached += tokens.inputTokens - tokens.cachedTokens;
    sum.cached += tokens.cachedTokens;
    sum.output += tokens.outputTokens;
    sum.pico += BigInt(pico);
  }

  /** Once. */
  addTo(report: ReportBuilder): void {
    for (const sum of [...this.#sums.values()].flatMap((byEnd) => [...byEnd.values()])) {
      const tokens = {
        ...noTokens,
        uncachedInput: BigInt(sum.uncached),
        cacheRead: BigInt(sum.cached),
        response: BigInt(sum.output),
      };
      const settled = { tokens, amountNano: (sum.pico + 500n) / 1_000n };
      const { pool, end, joules } = sum;
      report.addAttempt({ pool, end, settled, joulesExpected: joules }, sum.attempts);
    }
    this.#sums.clear();
  }

  #sumOf(pool: PoolId, end: AttemptEnd): Sum {
    const byEnd = this.#sums.get(pool) ?? new Map<AttemptEnd, Sum>();
    this.#sums.set(pool, byEnd);
    const known = byEnd.get(end);
    if (known !== undefined) return known;
    const none = { attempts: 0, uncached: 0, cached: 0, output: 0, pico: 0n, joules: 0 };
    const sum: Sum = { pool, end, ...none };
    byEnd.set(end, sum);
    return sum;
  }
}
