import { expect, test } from "vitest";
import { LoadHistory } from "../../services/core/load-history.ts";
import type { LeaseId, PoolId } from "../../services/core/units.ts";
import { chat } from "./fixtures.ts";

const a = "a" as PoolId;
const lease = { id: "a/1" as LeaseId, pool: a, model: chat };
const busy = { running: 8, kvTokens: 20_000, prefillTokensPerMs: 2 };

test("tells the mean over a lease's life, whatever was said of the load before", () => {
  const history = new LoadHistory();
  const wild = { running: 1e18, kvTokens: 1e18, prefillTokensPerMs: 1e15 };
  for (const [load, at] of [
    [busy, 0],
    [wild, 1_000],
    [busy, 600_000],
  ] as const) {
    history.note(a, chat, load, at);
  }
  history.begin(lease, 100, 700_000);
  history.note(a, chat, { ...busy, running: 12 }, 702_000);
  const mean = history.end(lease.id, a, chat, 704_000);
  expect(mean?.running).toBeCloseTo(10, 3);
  expect(mean?.kvTokens).toBeCloseTo(20_000, 0);
  expect(mean?.prefillTokensPerMs).toBeCloseTo(2, 3);
});

test("keeps nothing of a lease that is over, nor of one at a pool that it does not know", () => {
  const history = new LoadHistory();
  history.begin(lease, 100, 0);
  history.note(a, chat, busy, 0);
  history.begin(lease, 100, 0);
  expect(history.end(lease.id, a, chat, 0)).toBeUndefined();
  expect(history.image().begun).toEqual([]);
});
