import { describe, expect, test } from "vitest";
import { Kinds } from "../../../services/core/placement/kinds.ts";
import type { PlacementRequest } from "../../../services/core/placement/request.ts";
import type {
  ModelId,
  OriginId,
  RegionId,
  TenantId,
  VendorId,
} from "../../../services/core/units.ts";
import { request } from "../fixtures.ts";

const vendors = (...ids: string[]) => new Set(ids as VendorId[]);

/** Requests of unlike kinds, each with what makes it unlike the first. */
const unlike: Readonly<Record<string, Partial<PlacementRequest>>> = {
  "nothing else": {},
  model: { model: "another" as ModelId },
  origin: { origin: "elsewhere" as OriginId },
  class: { class: "batch-offline" },
  "data class": { dataClass: "personal" },
  "level of protection": { mlpsLevelMin: 3 },
  regions: { regions: new Set(["north" as RegionId]) },
  "vendors that may": { vendorsAllowed: vendors("north") },
  "vendors that may not": { vendorsDenied: vendors("north") },
  "two vendors": { vendorsDenied: vendors("north", "south") },
};

/** What is of a request alone, and tells no kind from another. */
const alike: Readonly<Record<string, Partial<PlacementRequest>>> = {
  lengths: { inputTokens: 9, outputTokensMax: 3 },
  "its number": { attempt: "another/2" as PlacementRequest["attempt"] },
  "a set of the same": { regions: new Set() },
};

const asked = request({ class: "llm-interactive", dataClass: "general", mlpsLevelMin: 2 });

describe("Kinds tells requests apart by", () => {
  const kinds = new Kinds<string>(false);
  for (const [name, changes] of Object.entries(unlike)) kinds.add({ ...asked, ...changes }, name);

  test.each(Object.entries(unlike))("%s", (name, changes) => {
    expect(kinds.get({ ...asked, ...changes })).toBe(name);
  });

  test.each(Object.entries(alike))("not by %s", (_name, changes) => {
    expect(kinds.get({ ...asked, ...changes })).toBe("nothing else");
  });

  test("each once", () => {
    expect(kinds.size).toBe(Object.keys(unlike).length);
  });
});

test.each([true, false])("tenants make kinds of their own where they do: %s", (isByTenant) => {
  const kinds = new Kinds<string>(isByTenant);
  kinds.add(asked, "known");
  const another = { ...asked, tenant: "another" as TenantId };
  expect(kinds.get(asked)).toBe("known");
  expect(kinds.get(another)).toBe(isByTenant ? undefined : "known");
});

test("nothing is left of what was cleared", () => {
  const kinds = new Kinds<string>(false);
  kinds.add(asked, "known");
  kinds.clear();
  expect([kinds.size, kinds.get(asked)]).toEqual([0, undefined]);
});
