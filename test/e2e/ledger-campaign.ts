/**
 * Kills ledgers for as long as one likes: `npm run campaign:ledger -- --seed 1 --count 100 --store sqlite`. The same seed
 * plans the same kills; what dies when is up to the machine.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openPostgres, whyNoPostgres } from "../fixtures/postgres.ts";
import { killLedger, type Campaign, type Mistakes } from "./ledger-kills.ts";

/** Then the ledger is full, and the next one is begun. */
const killsPerLedger = 10;

type Place = Pick<Campaign, "victims" | "crashServer"> & {
  target(round: number): Promise<string>;
  close(): Promise<void>;
};

const stores: Readonly<Record<string, () => Promise<Place>>> = {
  sqlite: async () => {
    const folder = mkdtempSync(join(tmpdir(), "tokengrid-campaign-"));
    return {
      victims: ["writer"],
      crashServer: () => Promise.reject(new Error("a file has no server")),
      target: async (round) => join(folder, `${round}.sqlite`),
      close: async () => rmSync(folder, { recursive: true }),
    };
  },
  postgres: async () => {
    const whyNot = whyNoPostgres();
    if (whyNot !== undefined) throw new Error(whyNot);
    const server = await openPostgres();
    return {
      victims: server.victims,
      crashServer: () => server.crash(),
      target: (round) => server.url(`round${round}`),
      close: () => server.close(),
    };
  },
};

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    count: { type: "string", default: "100" },
    store: { type: "string", default: Object.keys(stores).join(",") },
  },
});
const [seed, count] = [Number(values.seed), Number(values.count)];
if (!Number.isInteger(seed) || !Number.isInteger(count) || count < 1) {
  throw new Error(
    `expected whole numbers for --seed and --count, found ${values.seed}, ${values.count}`,
  );
}

async function campaign(name: string): Promise<Mistakes> {
  const open = stores[name];
  if (open === undefined)
    throw new Error(`--store: expected ${Object.keys(stores).join(" or ")}, found ${name}`);
  const place = await open();
  try {
    for (let done = 0; done < count; done += killsPerLedger) {
      const kills = Math.min(killsPerLedger, count - done);
      const { victims, crashServer } = place;
      const target = await place.target(done);
      const mistakes = await killLedger({ seed: seed + done, kills, target, victims, crashServer });
      if (mistakes.length > 0) return mistakes;
      console.log(`${name}: ${done + kills} kills, nothing lost, no half transaction, no mistake`);
    }
  } finally {
    await place.close();
  }
  return [];
}

for (const name of values.store.split(",")) {
  const mistakes = await campaign(name);
  for (const each of mistakes) console.error(`${name}: ${each}`);
  if (mistakes.length > 0) process.exitCode = 1;
}
