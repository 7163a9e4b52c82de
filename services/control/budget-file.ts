import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { AccountImage } from "../core/budgets.ts";
import type { Dispatcher } from "../core/dispatcher.ts";
import { budgetUnits } from "../core/placement/budget.ts";
import type { TenantId } from "../core/units.ts";
import type { Log } from "../io/log.ts";

const fileName = "budgets.json";

/** What a crash may forget: spending of so long. */
const keepEveryMs = 5_000;

const whole = z.int().min(0);

const accountSchema = z.object({
  budget: z.string(),
  tenant: z.string().transform((id) => id as TenantId),
  unit: z.enum(budgetUnits),
  windowMs: z.number().positive(),
  buckets: z.array(z.object({ index: whole, amount: whole })),
  held: whole,
  leases: whole,
  dual: z.object({ log: z.number(), at: z.number() }),
}) satisfies z.ZodType<AccountImage>;

/** Accounts of the run before. None if there was none, or if the file cannot be read: that is said in the log. */
export async function inheritedAccounts(
  folder: string,
  log: Log,
): Promise<readonly AccountImage[]> {
  try {
    return z.array(accountSchema).parse(JSON.parse(await readFile(join(folder, fileName), "utf8")));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    log.error({ error }, "what was spent of rolling budgets cannot be read, they begin anew");
    return [];
  }
}

/** Writes the accounts down from time to time and at the end, so that a start does not give budgets anew. */
export function keepAccounts(options: {
  readonly folder: string;
  readonly dispatcher: Dispatcher;
  readonly log: Log;
}): { readonly close: () => Promise<void> } {
  const { folder, dispatcher, log } = options;
  let before = "[]";
  let writing = Promise.resolve();
  const keep = async (): Promise<void> => {
    const text = JSON.stringify(dispatcher.budgets.image().accounts);
    if (text === before) return;
    before = text;
    await replace(join(folder, fileName), text);
  };
  const queue = (): void => {
    writing = writing.then(keep).catch((error: unknown) => {
      log.error({ error }, "what was spent of rolling budgets is not written down");
    });
  };
  const timer = setInterval(queue, keepEveryMs);
  return {
    close: async () => {
      clearInterval(timer);
      queue();
      await writing;
    },
  };
}

/** Whole or not at all. */
async function replace(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`;
  const file = await open(fresh, "w");
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(fresh, path);
}
