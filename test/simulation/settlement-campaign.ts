/** `npm run simulate:settlement -- --seed 1 --count 1000`: stops at the first seed that fails, and says which. */
import { parseArgs } from "node:util";
import { simulate } from "./settlement-world.ts";

const { values } = parseArgs({
  options: { seed: { type: "string", default: "1" }, count: { type: "string", default: "100" } },
});
const [seed, count] = [Number(values.seed), Number(values.count)];
if (!Number.isInteger(seed) || !Number.isInteger(count) || count < 1) {
  throw new Error(`expected whole numbers, found --seed ${values.seed} --count ${values.count}`);
}
const happened = new Map<string, number>();
for (let each = seed; each < seed + count; each += 1) {
  try {
    const result = await simulate(each);
    for (const point of result.happened) happened.set(point, (happened.get(point) ?? 0) + 1);
    const { digest, attempts, commits } = result;
    console.log(`seed ${each}: ${digest.slice(0, 16)}, ${attempts} attempts, ${commits} commits`);
  } catch (error) {
    console.error(`seed ${each} fails: ${error instanceof Error ? error.message : String(error)}`);
    if (error instanceof Error && error.cause instanceof Error) console.error(error.cause.stack);
    process.exit(1);
  }
}
const points = [...happened].toSorted(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
console.log(points.map(([point, times]) => `${point} ${times}`).join(", "));
process.exit(0);
