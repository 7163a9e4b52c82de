import { randomFromSeed } from "../../services/core/random.ts";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type { BookId, GatewayId, PoolId, RequestId, TenantId } from "../../services/core/units.ts";
import { engineCounts, evidence, friday } from "../core/settlement/fixtures.ts";
import { record } from "./ledger-books.ts";

const usPerHour = 3_600_000_000n;

/**
 * What gateways may send: attempts at two pools by two tenants over two days, winners and losers, again, corrected in any
 * order, and by price books that nobody knows. The same seed, the same records.
 */
export function randomRecords(seed: number, count: number): UsageRecord[] {
  const random = randomFromSeed(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const pick = <Each>(all: readonly Each[]): Each => all[below(all.length)] as Each;
  return Array.from({ length: count }, () => {
    const number = below(Math.ceil(count * 0.7));
    const attempt = `a${String(number).padStart(6, "0")}`;
    const rev = pick([0, 0, 0, 1, 2]);
    // What belongs to the attempt depends on its number, and on that of the record what was counted.
    const counted = number * 31 + rev * 17;
    return record(attempt, {
      id: `${attempt}:${rev}`,
      request: `request-${Math.floor(number / 2)}` as RequestId,
      tenant: (number % 5 === 4 ? "bolt" : "acme") as TenantId,
      department: number % 3 === 0 ? "research" : "",
      scenario: number % 7 === 0 ? "chat" : "",
      pool: (number % 2 === 0 ? "p1" : "p2") as PoolId,
      isWinner: number % 2 === 0,
      openedUs: friday + BigInt(number % 40) * usPerHour,
      priceBook: (number % 11 === 10 ? "unheard-of" : "northgrid-list") as BookId,
      gateway: `gateway-${number % 2}` as GatewayId,
      producerSeq: BigInt(Math.floor(number / 2) * 3 + rev + 1),
      engineCounts: engineCounts({
        input: BigInt(100 + (counted % 700)),
        cacheRead: BigInt(counted % 90),
        output: BigInt(counted % 300),
      }),
      evidence: evidence({ outBytes: 100_000n, chunks: 0n }),
    });
  });
}
