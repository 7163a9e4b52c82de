import { beforeEach, describe, expect, test } from "vitest";
import type { GatewayId } from "../../../services/core/units.ts";
import { Gateways } from "../../../services/settlement/ingest/gateways.ts";

const [one, two] = ["gw-1", "gw-2"] as GatewayId[] as [GatewayId, GatewayId];
const end = 1_000_000_000_000n;
const dayUs = 86_400_000_000n;

let nowUs: bigint;
let gateways: Gateways;

beforeEach(() => {
  nowUs = end;
  gateways = new Gateways({ before: [one], nowUs: () => nowUs });
});

function say(gateway: GatewayId, completeUntilUs: bigint, epoch = 1n): void {
  gateways.note({ gateway, epoch, completeUntilUs });
}

function names(): string[] {
  return gateways.behind(end).map(({ gateway }) => gateway);
}

describe("a period waits for", () => {
  test("gateways that the ledger knows and that have said nothing since the start", () => {
    expect(gateways.behind(end)).toEqual([{ gateway: one, completeUntilUs: undefined }]);
  });

  test("those that have something from before its end, and no others", () => {
    say(one, end - 1n);
    say(two, end);
    expect(gateways.behind(end)).toEqual([{ gateway: one, completeUntilUs: end - 1n }]);
    say(one, end);
    expect(names()).toEqual([]);
  });

  test("those that send records without a word", () => {
    say(one, end);
    gateways.heard(two);
    gateways.heard(one);
    expect(names()).toEqual([two]);
  });

  test("none that nobody has heard of for a day", () => {
    nowUs += dayUs + 1n;
    expect(names()).toEqual([]);
    gateways.heard(one);
    expect(names()).toEqual([one]);
  });
});

test("words that come again or out of order change nothing; a restart starts again", () => {
  say(one, end);
  say(one, end - 5n);
  expect(names()).toEqual([]);
  say(one, end - 5n, 2n);
  expect(names()).toEqual([one]);
  say(one, end, 1n);
  expect(names()).toEqual([one]);
});
