import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { randomFromSeed, type Random } from "../../services/core/random.ts";
import { openLedger } from "../../services/io/ledger-open.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { batchesToWrite } from "./ledger-batches.ts";

const writer = new URL("./ledger-writer/main.ts", import.meta.url).pathname;
/** About a batch, so that it dies anywhere between two of them. */
const delayMsMax = 12;

/** What dies. */
export type Victim = "writer" | "server";

export interface Campaign {
  readonly seed: number;
  readonly kills: number;
  /** Of a ledger that nobody has opened. */
  readonly target: string;
  /** Who dies at each kill. */
  readonly victims: readonly Victim[];
  readonly crashServer: () => Promise<void>;
  readonly onKill?: (kill: number, records: number) => void;
}

/** What is wrong after a kill, or at the end; empty if nothing. */
export type Mistakes = string[];

/**
 * Starts the writer again and again, kills it or its server at any moment, and looks at the ledger each time: what it
 * said was durable is there, no batch is there in part, and every sum can be made again.
 */
export async function killLedger(campaign: Campaign): Promise<Mistakes> {
  const { seed, kills, target, victims, onKill } = campaign;
  const random = randomFromSeed(seed);
  const pace = Math.floor(batchesToWrite().length / kills);
  let durable = 0;
  for (let kill = 0; kill < kills; kill++) {
    const victim = victims[Math.floor(random() * victims.length)] ?? "writer";
    const after = Math.floor(random() * pace * (kill + 1));
    const lines = await run(target, { after, victim, random, campaign });
    durable = Math.max(durable, lines.filter((line) => line.startsWith("durable")).length);
    const { mistakes, ids } = await booksOf(target);
    onKill?.(kill, ids.length);
    const all = [...mistakes, ...objections(new Set(ids), durable)];
    if (all.length > 0) return all.map((each) => `kill ${kill} of seed ${seed}: ${each}`);
  }
  const last = await run(target, undefined);
  return last.at(-1) === "done" ? [] : ["the last run did not come to its end"];
}

/** All that the ledger says at the end, which must not depend on who died when. */
export async function booksOf(target: string) {
  const store = await openLedger(target);
  const { mistakes, heads } = await verifyLedger(store);
  const records = await store.recordsAfter(undefined, 10_000);
  const books = {
    mistakes,
    heads,
    ids: records.map(({ record }) => record),
    entries: await store.entriesAfter(0n, 100_000),
    balances: await store.balances(),
    producers: await store.producers(),
  };
  await store.close();
  return books;
}

/** The writer until its end, without anybody killed. */
export async function runUncut(target: string): Promise<string | undefined> {
  return (await run(target, undefined)).at(-1);
}

/** The writer where no file can grow beyond so much. Returns what it said, and what is wrong then. */
export async function runOnFullDisk(target: string, fileKibMax: number) {
  const script = `ulimit -f ${fileKibMax}; exec "$0" "$@"`;
  const child = spawn("bash", ["-c", script, process.execPath, writer, target], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const lines = (await text(child.stdout)).trimEnd().split("\n");
  const durable = lines.filter((line) => line.startsWith("durable")).length;
  const { mistakes, ids } = await booksOf(target);
  return { lines, durable, mistakes: [...mistakes, ...objections(new Set(ids), durable)] };
}

function objections(ids: ReadonlySet<string>, durable: number): string[] {
  return batchesToWrite().flatMap((batch, index) => {
    const own = new Set(batch.map(({ id }) => id));
    const kept = own.intersection(ids).size;
    if (kept === own.size || (kept === 0 && index >= durable)) return [];
    const promise = index < durable ? ", of a batch that was said to be durable" : "";
    return [`batch ${index}: ${kept} of ${own.size} records${promise}`];
  });
}

interface Kill {
  /** So many batches are durable. */
  readonly after: number;
  readonly victim: Victim;
  readonly random: Random;
  readonly campaign: Campaign;
}

/** Runs the writer, and returns what it said. */
async function run(target: string, kill: Kill | undefined): Promise<string[]> {
  const child = spawn(process.execPath, [writer, target], { stdio: ["ignore", "pipe", "ignore"] });
  const lines: string[] = [];
  let crashed: Promise<void> | undefined;
  const strike = (victim: Victim, campaign: Campaign): void => {
    if (victim === "writer") child.kill("SIGKILL");
    else crashed = campaign.crashServer();
  };
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (kill === undefined || lines.length - 1 !== kill.after) continue;
    // It goes on writing until then.
    setTimeout(() => strike(kill.victim, kill.campaign), kill.random() * delayMsMax);
  }
  await crashed;
  return lines;
}
