import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { expect, test } from "vitest";
import type { z } from "zod";
import { configSchema as agent } from "../../services/agent/main.ts";
import { configSchema as control } from "../../services/control/main.ts";
import { configSchema as gateway } from "../../services/gateway/main.ts";
import { readConfig } from "../../services/io/config.ts";
import { configSchema as settlement } from "../../services/settlement/main.ts";
import { configSchema as sim } from "../../services/sim/main.ts";

const folder = "deploy/config";

const schemas: Readonly<Record<string, z.ZodType>> = { agent, control, gateway, settlement, sim };

for (const [role, schema] of Object.entries(schemas)) {
  test(`${folder}/${role}.yaml is a valid example`, () => {
    expect(readConfig(`${folder}/${role}.yaml`, schema)).toBeTypeOf("object");
  });
}

test("every role has an example, and every example a role", () => {
  expect(
    readdirSync(folder)
      .map((file) => basename(file, ".yaml"))
      .toSorted(),
  ).toEqual(Object.keys(schemas));
});
