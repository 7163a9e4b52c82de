import fc from "fast-check";
import { expect, test } from "vitest";
import { Timeline } from "../../services/sim/timeline.ts";

test("Timeline runs actions by time, and those of one instant in the order they were planned", () => {
  const delays = fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 200 });
  fc.assert(
    fc.property(delays, (all) => {
      const timeline = new Timeline();
      const ran: [number, number][] = [];
      all.forEach((delay, index) => timeline.after(delay, () => ran.push([timeline.now, index])));
      timeline.runUntil(20);
      const sorted = all.map((delay, index) => [delay, index]);
      expect(ran).toEqual(sorted.toSorted((a, b) => (a[0] ?? 0) - (b[0] ?? 0)));
      expect(timeline.size).toBe(0);
    }),
  );
});

test("runUntil() runs what is planned while it runs, and leaves what is due later", () => {
  const timeline = new Timeline(1_000);
  const ran: string[] = [];
  timeline.after(10, () => {
    ran.push("first");
    timeline.after(0, () => ran.push("at once"));
    timeline.after(5, () => ran.push("at the end"));
    timeline.after(6, () => ran.push("later"));
  });
  timeline.runUntil(1_015);
  expect(ran).toEqual(["first", "at once", "at the end"]);
  expect(timeline.now).toBe(1_015);
  expect(timeline.size).toBe(1);
});

test("runNext() says when nothing is left", () => {
  const timeline = new Timeline();
  timeline.after(3, () => undefined);
  expect([timeline.runNext(), timeline.now, timeline.runNext()]).toEqual([true, 3, false]);
});

test("at() refuses the past", () => {
  expect(() => new Timeline(5).at(4, () => undefined)).toThrow("nothing is planned for the past");
});
