import { once } from "node:events";
import { existsSync, readdirSync, statfsSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Calendar } from "../core/settlement/pricing/price-book.ts";
import { readSqliteLedger } from "../io/ledger-sqlite.ts";
import type { LedgerStore } from "../io/ledger-store.ts";
import { verifyLedger } from "../io/ledger-verify.ts";
import { loadCalendar } from "../io/preset.ts";
import { type DataFolder, dataFolder, holderOf } from "./dev/data-folder.ts";
import { listenFault, type PortName, portSettings, type Ports } from "./dev/ports.ts";
import { localTime } from "./period.ts";
import { grouped } from "./print.ts";

export type Verdict = "ok" | "note" | "bad";

/** What was looked at and what was found. */
export interface Finding {
  readonly check: string;
  readonly verdict: Verdict;
  readonly detail: string;
}

export interface Patient {
  readonly dataPath: string;
  readonly host: string;
  readonly ports: Ports;
  readonly nodeVersion: string;
}

/** Oldest Node that strips types and has the SQLite we use. */
const nodeVersionMin = "24.14.1";

const freeBytesMin = 1_000_000_000;

/** The holidays of a year are announced in the November before. */
const calendarLeftMsMin = 61 * 86_400_000;

type Check = (
  patient: Patient,
  folder: DataFolder,
) => Promise<readonly Finding[]> | readonly Finding[];

/** Each looks at one thing and changes nothing. */
const checks: Readonly<Record<string, Check>> = {
  node: ({ nodeVersion }) => [nodeFinding(nodeVersion)],
  ports: (patient, folder) => portFindings(patient, folder),
  "data folder": (_patient, folder) => [folderFinding(folder)],
  "free space": (_patient, folder) => [spaceFinding(folder)],
  "key files": (_patient, folder) => keyFindings(folder),
  registry: (_patient, folder) => [bookFinding("registry", folder.registry, "entry")],
  ledger: (_patient, folder) => ledgerFindings(folder),
  calendar: () => [calendarFinding(loadCalendar(), Date.now())],
};

export async function examine(patient: Patient): Promise<Finding[]> {
  const folder = dataFolder(patient.dataPath);
  const findings: Finding[] = [];
  for (const [name, check] of Object.entries(checks))
    findings.push(...(await safely(name, () => check(patient, folder))));
  return findings;
}

/** A check that cannot be made is a finding too. */
async function safely(
  check: string,
  work: () => Promise<readonly Finding[]> | readonly Finding[],
): Promise<readonly Finding[]> {
  try {
    return await work();
  } catch (error) {
    return [
      { check, verdict: "bad", detail: error instanceof Error ? error.message : String(error) },
    ];
  }
}

export function nodeFinding(nodeVersion: string): Finding {
  const isNewEnough = compared(nodeVersion, nodeVersionMin) >= 0;
  const detail = isNewEnough
    ? nodeVersion
    : `expected ${nodeVersionMin} or newer, found ${nodeVersion}; npx tokengrid brings its own`;
  return { check: "node", verdict: isNewEnough ? "ok" : "bad", detail };
}

/** Beyond its end holidays are not known, and days are priced by the week. */
export function calendarFinding({ id, coversToUs }: Calendar, nowMs: number): Finding {
  const until = localTime(coversToUs).slice(0, 10);
  const leftMs = Number(coversToUs / 1_000n) - nowMs;
  if (leftMs > calendarLeftMsMin) {
    return { check: "calendar", verdict: "ok", detail: `${id} knows the days until ${until}` };
  }
  const detail = `${id} ends on ${until}: from then on days are priced by the week, until a book names the next`;
  return { check: "calendar", verdict: leftMs > 0 ? "note" : "bad", detail };
}

function compared(a: string, b: string): number {
  const [left = [], right = []] = [a, b].map((text) => text.split(".").map(Number));
  const different = left.findIndex((part, index) => part !== right[index]);
  return different < 0 ? 0 : (left[different] ?? 0) - (right[different] ?? 0);
}

async function portFindings({ host, ports }: Patient, folder: DataFolder): Promise<Finding[]> {
  const holder = existsSync(folder.path) ? holderOf(folder) : undefined;
  const findings: Finding[] = [];
  for (const [name, port] of Object.entries(ports) as [PortName, number][]) {
    if (port === 0) continue;
    const fault = await faultOf(host, port);
    findings.push(portFinding(name, { port, fault, holder }));
  }
  return findings;
}

function portFinding(
  name: PortName,
  { port, fault, holder }: { port: number; fault: string | undefined; holder: string | undefined },
): Finding {
  const check = `port ${port}`;
  const what = portSettings[name].what;
  if (fault === undefined) return { check, verdict: "ok", detail: `free for ${what}` };
  if (holder !== undefined) {
    return {
      check,
      verdict: "note",
      detail: `${fault}, as it should be while dev runs with pid ${holder}`,
    };
  }
  return {
    check,
    verdict: "bad",
    detail: `${fault}, expected it free for ${what}; choose another with --${name}-port`,
  };
}

async function faultOf(host: string, port: number): Promise<string | undefined> {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, "listening");
    return undefined;
  } catch (error) {
    const fault = listenFault(error);
    if (fault === undefined) throw error;
    return fault;
  } finally {
    server.close();
  }
}

function folderFinding({ path }: DataFolder): Finding {
  const check = "data folder";
  if (!existsSync(path))
    return { check, verdict: "note", detail: `${path} is not there yet; dev makes it` };
  const isPrivate = (statSync(path).mode & 0o077) === 0;
  if (!isPrivate)
    return { check, verdict: "bad", detail: `${path}: expected mode 0700, others may look in` };
  return { check, verdict: "ok", detail: path };
}

function spaceFinding({ path }: DataFolder): Finding {
  const { bavail, bsize } = statfsSync(existsSync(path) ? path : ".");
  const free = bavail * bsize;
  const verdict = free >= freeBytesMin ? "ok" : "bad";
  return {
    check: "free space",
    verdict,
    detail: `${(free / 1e9).toFixed(1)} GB, at least 1 wanted`,
  };
}

function keyFindings({ path, keys, devKey, operatorKey }: DataFolder): Finding[] {
  const files = [
    devKey,
    operatorKey,
    ...(existsSync(keys) ? readdirSync(keys).map((name) => join(keys, name)) : []),
  ];
  const there = files.filter((file) => existsSync(file));
  if (there.length === 0)
    return [{ check: "key files", verdict: "note", detail: `none in ${path} yet` }];
  const open = there.filter((file) => (statSync(file).mode & 0o077) !== 0);
  if (open.length === 0)
    return [
      {
        check: "key files",
        verdict: "ok",
        detail: `${there.length}, readable by their owner alone`,
      },
    ];
  return open.map((file) => ({
    check: "key files",
    verdict: "bad",
    detail: `${file}: expected mode 0600`,
  }));
}

/** SQLite's own check of every page, and how much is in it. */
function bookFinding(check: string, path: string, table: string): Finding {
  if (!existsSync(path)) return { check, verdict: "note", detail: "not there yet" };
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    const result = database.prepare("PRAGMA integrity_check").get();
    const word = String(result?.["integrity_check"]);
    if (word !== "ok") return { check, verdict: "bad", detail: `${path}: ${word}` };
    const rows = database.prepare(`SELECT count(*) AS rows FROM "${table}"`).get()?.["rows"];
    return {
      check,
      verdict: "ok",
      detail: `${path}: intact, ${grouped(Number(rows))} in ${table}`,
    };
  } finally {
    database.close();
  }
}

/** Makes every sum of the books again, as they are at one moment: records may go on coming in. */
async function ledgerFindings(folder: DataFolder): Promise<Finding[]> {
  const intact = bookFinding("ledger", folder.ledger, "entry");
  if (intact.verdict !== "ok") return [intact];
  const check = "ledger sums";
  let store: LedgerStore;
  try {
    store = await readSqliteLedger(folder.ledger);
  } catch (error) {
    // Of another version, which alone can read it.
    return [intact, { check, verdict: "bad", detail: String(error) }];
  }
  try {
    const { records, entries, mistakes } = await verifyLedger(store);
    const detail = `${grouped(records)} records and ${grouped(entries)} entries add up`;
    if (mistakes.length === 0) return [intact, { check, verdict: "ok", detail }];
    return [
      intact,
      ...mistakes.map((mistake) => ({ check, verdict: "bad" as const, detail: mistake })),
    ];
  } finally {
    await store.close();
  }
}
