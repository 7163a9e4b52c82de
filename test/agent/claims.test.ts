import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openClaimOutbox, OutboxError } from "../../services/agent/claim-outbox.ts";
import { ClaimSender, followClaims } from "../../services/agent/claims.ts";
import { CountQueue } from "../../services/agent/count-queue.ts";
import type { OwnCount } from "../../services/core/settlement/claims/own-count.ts";
import type { AttemptId, BookId, ModelId, PoolId, VendorId } from "../../services/core/units.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { friday, priceBook, usageRecord } from "../core/settlement/fixtures.ts";
import { kid, openSettlementServer, type SettlementServer } from "./settlement-server.ts";

let folder: string;
let server: SettlementServer;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-claims-"));
  server = await openSettlementServer(folder);
});

afterEach(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

const never = new AbortController().signal;

/** As the records of the fixtures are settled. */
function count(attempt: string, changes: Partial<OwnCount> = {}): OwnCount {
  const { pool, model, openedUs, closedUs } = usageRecord({});
  return {
    attempt: attempt as AttemptId,
    rev: 0n,
    pool,
    model,
    tokens: { uncachedInput: 60n, cacheRead: 40n, cacheWrite: 0n, response: 50n, reasoning: 0n },
    openedUs,
    firstByteUs: undefined,
    closedUs,
    ...changes,
  };
}

/** An agent with an outbox of its own. */
function agent(file = "claims.sqlite") {
  const { transport, key, log, clock } = server;
  const source = new CountQueue(log);
  const outbox = openClaimOutbox(join(folder, file));
  const vendor = "northgrid" as VendorId;
  const { sign } = key;
  const nowUs = () => clock.nowUs;
  const sender = new ClaimSender({ vendor, transport, source, outbox, kid, sign, nowUs, log });
  const round = async (): Promise<void> => {
    await sender.collect();
    await sender.send(never);
  };
  return { source, outbox, sender, round };
}

async function attempts(): Promise<string[]> {
  return (await server.listed()).map(({ attemptId }) => attemptId);
}

describe("an agent that claims", () => {
  test("says what the books say, by the version and the slot that are in force", async () => {
    const { source, round, outbox } = agent();
    const names = ["a1", "a2", "a3"] as AttemptId[];
    await server.post(
      names.map((attempt, n) =>
        usageRecord({ attempt, id: `${attempt}:0`, producerSeq: BigInt(n + 1) }),
      ),
    );
    for (const name of names) source.push(count(name));
    await round();
    expect(await server.reconcile()).toEqual({ counts: { matched: "3+3" }, found: [] });
    expect([outbox.waiting, outbox.signed()]).toEqual([0, undefined]);
    outbox.close();
  });

  test("sends no batch of more than a thousand, and nothing when there is nothing", async () => {
    const { source, round, outbox } = agent();
    await round();
    expect(server.calls.filter((name) => name === "ListTerms")).toEqual([]);
    for (let n = 0; n < 2_500; n++) source.push(count(`a${n}`));
    await round();
    expect((await server.chain()).batches).toBe(3n);
    outbox.close();
  });

  for (const fate of ["lost", "answer-lost"] as const) {
    test(`whose call is ${fate} sends the same bytes again, also after it has ended`, async () => {
      const before = agent();
      before.source.push(count("a1"));
      server.fates.push(fate);
      await expect(before.round()).rejects.toThrow("the link was cut");
      const signed = before.outbox.signed();
      before.outbox.close();
      const after = agent();
      expect(after.outbox.signed()).toEqual(signed);
      await after.round();
      expect(after.outbox.signed()).toBeUndefined();
      expect([await attempts(), (await server.chain()).batches]).toEqual([["a1"], 1n]);
      after.outbox.close();
    });
  }

  test("beside another of the same vendor signs anew when the other was faster", async () => {
    const [west, east] = [agent("west.sqlite"), agent("east.sqlite")];
    const names: string[] = [];
    for (let n = 10; n < 20; n++) {
      west.source.push(count(`w${n}`));
      east.source.push(count(`e${n}`));
      names.push(`w${n}`, `e${n}`);
      await Promise.all([west.round(), east.round()]);
    }
    expect(await attempts()).toEqual(names.toSorted());
    expect((await server.chain()).batches).toBe(20n);
    west.outbox.close();
    east.outbox.close();
  });

  test("that lost an answer and was overtaken claims once", async () => {
    const [west, east] = [agent("west.sqlite"), agent("east.sqlite")];
    west.source.push(count("w1"));
    server.fates.push("answer-lost");
    await expect(west.round()).rejects.toThrow();
    east.source.push(count("e1"));
    await east.round();
    west.source.push(count("w2"));
    await west.round();
    expect([await attempts(), (await server.chain()).batches]).toEqual([["e1", "w1", "w2"], 3n]);
    west.outbox.close();
    east.outbox.close();
  });

  test("keeps what no version has a price for, and the rest passes", async () => {
    const { source, round, outbox } = agent();
    const model = "new-model" as ModelId;
    source.push(count("a1", { model }));
    source.push(count("a2"));
    await round();
    expect([await attempts(), outbox.waiting]).toEqual([["a2"], 1]);
    const { lines, ...book } = priceBook({ calendar: loadCalendar() });
    const id = "northgrid-new" as BookId;
    await server.publish({ ...book, id, lines: lines.map((line) => ({ ...line, model })) });
    await round();
    expect(await attempts()).toEqual(["a2"]);
    await expect
      .poll(async () => {
        server.clock.nowUs += 61_000_000n;
        await server.signAll();
        await round();
        return attempts();
      })
      .toEqual(["a1", "a2"]);
    outbox.close();
  });

  test("goes on after a claim that the operator does not take", async () => {
    const { source, round, outbox } = agent();
    source.push(count("a1"));
    source.push(count("a1", { pool: "elsewhere" as PoolId }));
    source.push(count("a2", { closedUs: friday - 1n }));
    source.push(count("a3"));
    await round();
    await round();
    expect([await attempts(), (await server.chain()).batches]).toEqual([["a1", "a3"], 1n]);
    outbox.close();
  });

  test("collects while the operator is away, and says goodbye with what is left", async () => {
    const { source, sender, outbox } = agent();
    const stop = new AbortController();
    server.fates.push("lost", "lost");
    source.push(count("a1"));
    const { log } = server;
    const followed = followClaims({ sender, intervalMs: 5, log, signal: stop.signal });
    await expect.poll(async () => attempts()).toEqual(["a1"]);
    source.push(count("a2"));
    stop.abort();
    await followed;
    expect(await attempts()).toEqual(["a1", "a2"]);
    outbox.close();
  });

  test("has its outbox alone", () => {
    const { outbox } = agent();
    expect(() => agent()).toThrow(OutboxError);
    outbox.close();
  });
});
