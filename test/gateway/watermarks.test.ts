import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { AttemptId, GatewayId } from "../../services/core/units.ts";
import { draftOf } from "../../services/gateway/attempt-record.ts";
import { AnswerMeter } from "../../services/gateway/meter.ts";
import { defaultSpoolLimits, openSpool, type Spool } from "../../services/gateway/spool.ts";
import { Watermarks } from "../../services/gateway/watermarks.ts";
import { systemDisk } from "../../services/io/segment-disk.ts";
import { log } from "./control-fixture.ts";
import { plan } from "./plan-fixture.ts";

/** As answers have it: by getters, which are no properties of the object itself. */
class Taken {
  get deliveredBytes(): number {
    return 9_000;
  }

  get sentBytes(): number {
    return 18_000;
  }
}

const clock = { now: () => 1_600 };

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "watermarks-"));
});
afterEach(() => rm(folder, { recursive: true }));

function open(): Promise<Spool> {
  return openSpool({
    folder,
    disk: systemDisk,
    gatewayId: "gateway-1" as GatewayId,
    limits: defaultSpoolLimits,
    clock,
    log,
    onFsync: () => undefined,
  });
}

test("a watermark says how much of the answer was taken, and a gateway starts again on it", async () => {
  const spool = await open();
  const draft = draftOf(plan("a1" as AttemptId), 120);
  await spool.open(draft);
  const meter = new AnswerMeter("vllm", new Set());
  meter.observeText(0, "content", "hello");
  const watermarks = new Watermarks({ spool, clock }, { draft, meter });
  const times = {
    dispatchedAt: 1_400,
    firstByteAt: 1_450,
    lastByteAt: undefined,
    cancelledAt: undefined,
  };
  watermarks.tick(performance.now() + 2_000, new Taken(), times);
  expect(watermarks.last).toMatchObject({ deliveredBytes: 9_000, sentBytes: 18_000 });
  await spool.closeFiles();
  const again = await open();
  const [crashed] = (await again.nextBatch(10)).records;
  expect(crashed?.id).toBe("a1:0");
  await again.closeFiles();
});
