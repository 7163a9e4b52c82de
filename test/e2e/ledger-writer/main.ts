/**
 * Writes batches of records to a ledger, the same ones each time it is started, and says on standard output which
 * batch is durable. Is killed while it does so.
 */
import { openLedger } from "../../../services/io/ledger-open.ts";
import { batch as nothing, openBooks } from "../../io/ledger-books.ts";
import { batchesToWrite } from "../ledger-batches.ts";

const [target = ""] = process.argv.slice(2);
const store = await openLedger(target);
const books = await openBooks(store);
await books.buyPackage();

process.stdout.write("open\n");
for (const [index, batch] of batchesToWrite().entries()) {
  const outcomes = await books.post(batch).catch(sayWhatIsNext);
  const bad = outcomes.find(({ status }) => status !== "posted" && status !== "exists");
  if (bad !== undefined) throw new Error(`${bad.record}: ${bad.status} ${bad.reason}`);
  process.stdout.write(`durable ${index}\n`);
}
await store.close();
process.stdout.write("done\n");

/** What the ledger says to the one who tries once more. */
async function sayWhatIsNext(cause: unknown): Promise<never> {
  const next = await store.commit(nothing()).then(
    () => "committed",
    (error: unknown) => (error instanceof Error ? error.name : String(error)),
  );
  process.stdout.write(`then ${next}\n`);
  throw cause;
}
