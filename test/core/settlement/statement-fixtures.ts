import { makeStatement } from "../../../services/core/settlement/statements/make-statement.ts";
import { dayOf } from "../../../services/core/settlement/statements/period.ts";
import { linesOfHours } from "../../../services/core/settlement/statements/statement-lines.ts";
import type {
  Account,
  Frozen,
  Statement,
} from "../../../services/core/settlement/statements/statement.ts";
import { bookText, contractText } from "../../../services/core/settlement/terms/terms-text.ts";
import type {
  AttemptId,
  GatewayId,
  ModelId,
  PairId,
  PoolId,
  RegionId,
} from "../../../services/core/units.ts";
import { contract, engineCounts, friday, priceBook, sha256, usageRecord } from "./fixtures.ts";
import { MemoryBooks } from "./memory-books.ts";

export const northgrid = "vendor:northgrid" as PairId;
export const day = dayOf(friday, "Asia/Shanghai");

const glm = "glm-5" as ModelId;
export const book = priceBook({
  lines: priceBook().lines.flatMap((line) => [
    line,
    {
      ...line,
      id: `glm/${line.id}`,
      model: glm,
      tiers: [{ fromTokens: 0n, pricePicoPerToken: 333_333n }],
    },
  ]),
});

/** Three attempts at two pools. */
export const records = [
  usageRecord(),
  usageRecord({
    attempt: "a2" as AttemptId,
    id: "a2:0",
    pool: "p2" as PoolId,
    region: "zhangjiakou" as RegionId,
    engineCounts: engineCounts({ cacheRead: 0n, reasoning: 10n }),
    openedUs: friday + 3_600_000_000n,
  }),
  usageRecord({ attempt: "a3" as AttemptId, id: "a3:0", model: glm }),
];

export function frozen(changes: Partial<Frozen> = {}): Frozen {
  return {
    log: {
      origin: "grid.example/tokengrid/vendor/northgrid",
      size: 3n,
      root: sha256("root"),
      firstIndex: 0n,
      endIndex: 3n,
    },
    contractHash: sha256(contractText(contract())),
    calendars: [{ id: "cn-2026", version: 1n, hash: sha256("calendar") }],
    producers: [{ gateway: "gw-1" as GatewayId, epoch: 1n, firstSeq: 1n, endSeq: 4n }],
    gaps: [],
    recon: undefined,
    seal: sha256("seal"),
    disputedNano: 0n,
    quarantined: 0n,
    ...changes,
  };
}

export function booksOf(used = records): MemoryBooks {
  const books = new MemoryBooks([book]);
  for (const record of used) books.post([record]);
  return books;
}

export function hoursOf(used = records) {
  return [...booksOf(used).hours.values()].filter(({ key }) => key.pair === northgrid);
}

export function account(changes: Partial<Account> = {}, used = records): Account {
  return {
    pair: northgrid,
    kind: "daily",
    period: day,
    isPayable: true,
    lines: linesOfHours(hoursOf(used), day),
    fees: [],
    trueUps: [],
    creditsNano: 0n,
    attempts: BigInt(used.length),
    days: [],
    rounded: undefined,
    hashByVersion: new Map([["northgrid-list@1", sha256(bookText(book))]]),
    frozen: frozen(),
    prevDigest: "",
    ...changes,
  };
}

export function statement(changes: Partial<Account> = {}, used = records): Statement {
  return makeStatement(account(changes, used), sha256);
}
