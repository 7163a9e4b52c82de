import { expect, test } from "vitest";
import { canonicalJson } from "../../../services/core/settlement/canonical.ts";
import { dayKind } from "../../../services/core/settlement/pricing/calendar.ts";
import {
  everyTenant,
  type Calendar,
} from "../../../services/core/settlement/pricing/price-book.ts";
import { calendarShape } from "../../../services/core/settlement/terms/other-shapes.ts";
import { bookText } from "../../../services/core/settlement/terms/terms-text.ts";
import type { BookId, VendorId } from "../../../services/core/units.ts";
import { loadCalendar } from "../../../services/io/preset.ts";
import type { Terms } from "../../../services/settlement/terms/terms.ts";
import { us } from "../../core/settlement/fixtures.ts";
import { listed, north, now, started, withRegistry } from "./terms-fixtures.ts";

const installed = loadCalendar();
/** A Wednesday to come, which the installed calendar covers. */
const day = "2026-12-09";
const noon = us(`${day}T12:00:00+08:00`);
const version = (installed.version ?? 1n) + 1n;
const changed: Calendar = {
  ...{ ...installed, version },
  kindByDate: new Map([...installed.kindByDate, [day, "holiday"] as const]),
};
const longer: Calendar = {
  ...{ ...installed, version, coversToUs: installed.coversToUs + 86_400_000_000n },
};
const textOf = (calendar: Calendar): string => canonicalJson(calendarShape.write(calendar));

async function agree(terms: Terms, calendar: Calendar) {
  const { id, hash } = await terms.propose("calendar", textOf(calendar), "internal");
  await terms.sign({ kind: "calendar", id, hash }, "internal", "");
  return { kind: "calendar", id, hash } as const;
}

test("a calendar is not signed once a day that it changes has begun", async () => {
  const clock = { us: now };
  const { terms } = await started(() => clock.us);
  const { id, hash } = await terms.propose("calendar", textOf(changed), "internal");
  clock.us = us(`${day}T00:00:00+08:00`) + 1n;
  const signed = { kind: "calendar", id, hash } as const;
  await expect(terms.sign(signed, "internal", "")).rejects.toThrow(
    `days.${day}: retroactive: expected workday as before, found holiday`,
  );
  expect(terms.state.calendarOf(installed.id)?.version).toBe(installed.version);
});

test("the operator alone changes no day of a book that another has signed", async () => {
  const { terms, agreed } = await withRegistry("northgrid", listed);
  await agreed.find(listed.id, 1n);
  const kind = () => dayKind((agreed.known(listed.id, 1n) ?? listed).calendar, noon);
  const list = {
    ...{ ...listed, id: "retail" as BookId, side: "sell" as const, vendor: "" as VendorId },
    ...{
      pair: everyTenant,
      lines: listed.lines.map((line) => ({ ...line, scope: "contract" as const })),
    },
  };
  const named = await terms.propose("price-version", bookText(list), "internal");
  await terms.sign({ kind: "price-version", id: named.id, hash: named.hash }, "internal", "");
  const signed = await agree(terms, changed);
  expect(kind()).toBe("workday");
  expect(dayKind(terms.state.withCalendar(list).calendar, noon)).toBe("holiday");
  await terms.sign(signed, north, "");
  expect(kind()).toBe("holiday");
});

test("a calendar that only reaches further holds for everybody at once", async () => {
  const { terms, agreed } = await withRegistry("northgrid", listed);
  await agreed.find(listed.id, 1n);
  await agree(terms, longer);
  expect(agreed.known(listed.id, 1n)?.calendar.coversToUs).toBe(longer.coversToUs);
});

const shifts: Record<string, Partial<Calendar>> = {
  "an offset that was, for a while": {
    offsets: [
      { fromUs: now - 20n, minutes: 60 },
      { fromUs: now - 10n, minutes: installed.offsetMinutes },
    ],
  },
  "where it begins": {
    coversFromUs: now - 10n,
    kindByDate: new Map([...installed.kindByDate].filter(([date]) => date > "2026-12-01")),
  },
};

for (const [what, change] of Object.entries(shifts)) {
  test(`a calendar that changes ${what} is refused`, async () => {
    const { terms } = await started();
    const text = textOf({ ...installed, version, ...change });
    await expect(terms.propose("calendar", text, "internal")).rejects.toThrow("as ");
    expect(terms.state.list("calendar")).toEqual([]);
  });
}
