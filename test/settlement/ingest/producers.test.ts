import { expect, test } from "vitest";
import type { GatewayId } from "../../../services/core/units.ts";
import type { ProducerState } from "../../../services/io/ledger-store.ts";
import { holePatienceMs, Producers } from "../../../services/settlement/ingest/producers.ts";
import { usageRecord } from "../../core/settlement/fixtures.ts";

const gateway = "gw" as GatewayId;

function watched(states: readonly ProducerState[] = []) {
  const clock = { at: 0, now: () => clock.at };
  const lost: bigint[] = [];
  const producers = new Producers({ states, clock, onLost: (numbers) => lost.push(numbers) });
  const note = (...numbers: readonly bigint[]) => {
    const noted = producers.note(
      numbers.map((producerSeq) => usageRecord({ gateway, producerSeq })),
    );
    noted.keep();
    return noted.states;
  };
  return { clock, lost, producers, note };
}

test("a hole that stays too long is counted as lost, once", () => {
  const { clock, lost, producers, note } = watched();
  note(1n, 4n, 5n);
  clock.at = holePatienceMs - 1;
  expect(producers.giveUp().states).toEqual([]);
  clock.at = holePatienceMs;
  const given = producers.giveUp();
  expect(given.states).toEqual([{ gateway, epoch: 1n, nextSeq: 6n, ahead: "", lost: 2n }]);
  given.keep();
  expect(producers.giveUp().states).toEqual([]);
  expect(lost).toEqual([2n]);
});

test("a hole that is filled in time is none", () => {
  const { clock, lost, producers, note } = watched();
  note(1n, 3n);
  clock.at = holePatienceMs - 1;
  note(2n);
  clock.at = holePatienceMs * 2;
  expect(producers.giveUp().states).toEqual([]);
  expect(lost).toEqual([]);
});

test("patience begins anew with the next hole", () => {
  const { clock, producers, note } = watched();
  note(2n);
  clock.at = 20_000;
  note(1n, 4n);
  clock.at = holePatienceMs;
  expect(producers.giveUp().states).toEqual([]);
  clock.at = 20_000 + holePatienceMs;
  expect(producers.giveUp().states).toMatchObject([{ nextSeq: 5n, lost: 1n }]);
});

test("what was not committed is not kept", () => {
  const { producers, note } = watched();
  producers.note([usageRecord({ gateway, producerSeq: 1n })]);
  expect(note(2n)).toEqual([{ gateway, epoch: 1n, nextSeq: 1n, ahead: "2-2", lost: 0n }]);
});

test("a sequence goes on where the ledger has it", () => {
  const { note } = watched([{ gateway, epoch: 1n, nextSeq: 3n, ahead: "5-6", lost: 7n }]);
  expect(note(3n, 4n)).toEqual([{ gateway, epoch: 1n, nextSeq: 7n, ahead: "", lost: 7n }]);
});
