/**
 * Placement beside its peers and a clairvoyant bound, in virtual time: `npm run bench:dispatch`, `-- --help`.
 * What is compared, and how, stands on the page that it writes, bench/dispatch/README.md.
 */

import { SingleBar } from "cli-progress";
import { phases, type Campaign } from "./dispatch/campaign.ts";
import { Crew, type Failure } from "./dispatch/crew.ts";
import { optionsFrom } from "./dispatch/options.ts";
import { writePage } from "./dispatch/page.ts";
import { appendRow, keyOf, readRows, type Row } from "./dispatch/rows.ts";
import { digestOf } from "./dispatch/tables.ts";
import { commit } from "./report.ts";

/** All whose change would change what a run comes to. */
const sources = [
  ...["services", "proto", "deploy", "bench/baselines", "bench/bound"],
  ...["bench/dispatch.ts", "bench/dispatch/*.ts"],
];

const { campaign, isResumed, rowsPath, hasPage } = optionsFrom(process.argv.slice(2));
const sourceCommit = commit(sources);
if (isResumed && sourceCommit.endsWith("+")) {
  console.error("--resume: expected sources that are committed, found changes");
  process.exit(1);
}
const known = isResumed ? readRows(rowsPath).filter((row) => row.commit === sourceCommit) : [];
const { rows, failures } = await ran(campaign, known);
console.log(digestOf(rows));
if (hasPage) {
  await writePage(readRows(rowsPath));
  console.log("bench/dispatch/README.md and its plots are written");
}
for (const { task, mistake } of failures) console.error(`\nfailed: ${keyOf(task)}\n${mistake}`);
if (failures.length > 0) process.exitCode = 1;

/** Runs what is not known yet, and appends each row as it comes. */
async function ran(
  wanted: Campaign,
  onFile: readonly Row[],
): Promise<{ readonly rows: readonly Row[]; readonly failures: readonly Failure[] }> {
  const failed: Failure[] = [];
  const done: Row[] = [...onFile];
  const keysDone = new Set(onFile.map(keyOf));
  const crew = new Crew(sourceCommit);
  const bar = new SingleBar({
    format: "{bar} {value}/{total} {phase}, {duration_formatted}, {eta_formatted} left",
    etaBuffer: 50,
    noTTYOutput: true,
    notTTYSchedule: 30_000,
  });
  try {
    for (const [index, tasksOf] of phases.entries()) {
      const tasks = tasksOf(wanted, done).filter((task) => !keysDone.has(keyOf(task)));
      const phase = `runs of part ${index + 1} of ${phases.length}`;
      bar.start(tasks.length, 0, { phase });
      await crew.run(tasks, {
        onRow: (row) => {
          done.push(row);
          appendRow(row, rowsPath);
          bar.increment();
        },
        onFailure: (failure) => {
          failed.push(failure);
          bar.increment();
        },
      });
      bar.stop();
    }
  } finally {
    bar.stop();
    await crew.end();
  }
  return { rows: done, failures: failed };
}
