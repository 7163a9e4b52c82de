import { setTimeout } from "node:timers/promises";
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import {
  tokenClassNames,
  type TokenClass,
  type Tokens,
} from "../../core/settlement/counting/usage.ts";
import type { AttemptId, InstantUs, RequestId, VendorId } from "../../core/units.ts";
import type { LedgeredAttempt, StatementSummary } from "../../core/report.ts";
import type { SettlementService, Statement } from "../../wire/gen/tokengrid/v1/settlement_pb.js";
import {
  RecordStatus,
  type SettledUsage,
  type UsageService,
} from "../../wire/gen/tokengrid/v1/usage_pb.js";
import { toUsageRecord } from "../../wire/usage.ts";
import type { NamedPeriod } from "../period.ts";

/** An attempt of the run as settlement has it. */
export interface LedgeredUsage extends LedgeredAttempt {
  readonly attempt: AttemptId;
  readonly request: RequestId;
  readonly vendor: VendorId;
  readonly isWinner: boolean;
}

const pageSize = 500;
const betweenLooksMs = 500;

/** So many looks in a row that show nothing new: what is still missing will not come. */
const quietLooks = 4;

/**
 * Waits until the ledger has every request that was answered in full, and no new record of the run comes in
 * any more. What is still missing after `patienceMs` is named, not waited for.
 */
export async function ledgered(options: {
  readonly usages: Client<typeof UsageService>;
  readonly runId: string;
  readonly fromUs: InstantUs;
  readonly answered: ReadonlySet<string>;
  readonly patienceMs: number;
}): Promise<{ readonly attempts: readonly LedgeredUsage[]; readonly missing: readonly string[] }> {
  const { answered, patienceMs } = options;
  const giveUpAt = performance.now() + patienceMs;
  let attempts: readonly LedgeredUsage[] = [];
  let quiet = 0;
  for (;;) {
    const isLast = performance.now() > giveUpAt;
    const found = (await listed(options).catch(unlessUnavailable(isLast))) ?? attempts;
    quiet = found.length > attempts.length ? 0 : quiet + 1;
    attempts = found;
    const known = new Set<string>(attempts.filter(isFinished).map(({ request }) => request));
    const missing = [...answered].filter((request) => !known.has(request));
    const isOver = missing.length === 0 && quiet >= quietLooks;
    if (isOver || isLast) return { attempts, missing };
    await setTimeout(betweenLooksMs);
  }
}

/** Settlement may be starting again: what it cannot tell now it tells at the next look. */
function unlessUnavailable(isLast: boolean): (error: unknown) => undefined {
  return (error) => {
    const isAway = error instanceof ConnectError && error.code === Code.Unavailable;
    if (!isAway || isLast) throw error;
    return undefined;
  };
}

/**
 * A gateway that dies between the last byte and the record says so when it is back: that attempt is in the
 * ledger too, with what was counted until then.
 */
function isFinished({ end }: LedgeredUsage): boolean {
  return end === "complete" || end === "gateway-crash";
}

async function listed(options: {
  readonly usages: Client<typeof UsageService>;
  readonly runId: string;
  readonly fromUs: InstantUs;
}): Promise<LedgeredUsage[]> {
  const { usages, runId, fromUs } = options;
  const attempts: LedgeredUsage[] = [];
  let pageToken = "";
  do {
    const page = await usages.list({ fromUs, limit: pageSize, pageToken });
    for (const usage of page.usages) {
      const attempt = toAttempt(usage);
      if (attempt?.request.startsWith(`${runId}-`) === true) attempts.push(attempt);
    }
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return attempts;
}

function toAttempt(usage: SettledUsage): LedgeredUsage | undefined {
  if (usage.record === undefined) return undefined;
  const { attempt, request, vendor, pool, isWinner, end, joulesExpected } = toUsageRecord(
    usage.record,
  );
  const isSettled = usage.status === RecordStatus.POSTED || usage.status === RecordStatus.EXISTS;
  const { tokensByClass, amountNano } = usage;
  return {
    attempt,
    request,
    vendor,
    isWinner,
    end,
    joulesExpected,
    pool: pool === "" ? undefined : pool,
    settled: isSettled ? { tokens: toTokens(tokensByClass), amountNano } : undefined,
  };
}

function toTokens(tokensByClass: Readonly<Record<string, bigint>>): Tokens {
  const of = (each: TokenClass): bigint => tokensByClass[tokenClassNames[each]] ?? 0n;
  return {
    uncachedInput: of("uncachedInput"),
    cacheRead: of("cacheRead"),
    cacheWrite: of("cacheWrite"),
    response: of("response"),
    reasoning: of("reasoning"),
  };
}

/** Closes the statements of these vendors and days, and says what is in them. */
export async function closed(options: {
  readonly settlement: Client<typeof SettlementService>;
  readonly vendors: readonly string[];
  readonly days: readonly NamedPeriod[];
}): Promise<StatementSummary[]> {
  const { settlement, vendors, days } = options;
  const summaries: StatementSummary[] = [];
  for (const { fromUs, toUs, timeZone } of days) {
    for (const vendorId of vendors) {
      const period = { fromUs, toUs, timeZone };
      const { statement } = await settlement.closeStatement({ vendorId, period });
      if (statement !== undefined) summaries.push(toSummary(statement));
    }
  }
  return summaries;
}

function toSummary(statement: Statement): StatementSummary {
  const { totals } = statement;
  return {
    vendor: statement.vendorId,
    statement: statement.statementId,
    attempts: totals?.attempts ?? 0n,
    tokens: Object.values(totals?.tokensByClass ?? {}).reduce((sum, each) => sum + each, 0n),
    amountNano: totals?.netNano ?? 0n,
    quarantined: totals?.quarantined ?? 0n,
    digest: statement.digest,
    lines: statement.lines.map((line) => ({
      pool: line.poolId,
      model: line.modelId,
      tokenClass: line.tokenClass,
      slot: line.slot,
      attempts: line.attempts,
      tokens: line.tokens,
      amountNano: line.amountNano,
    })),
  };
}
