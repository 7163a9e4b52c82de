import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  createDataFolder,
  dataFolder,
  existingFolder,
  holderOf,
  lockFolder,
} from "../../services/cli/dev/data-folder.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tokengrid-folder-"));
});

afterEach(() => {
  rmSync(root, { recursive: true });
});

test("createDataFolder() makes folders that only their owner may read", () => {
  const folder = createDataFolder(join(root, "data"));
  const modes = [folder.path, folder.keys, folder.spool, folder.journal].map(
    (path) => statSync(path).mode & 0o777,
  );
  expect(modes).toEqual([0o700, 0o700, 0o700, 0o700]);
});

test("lockFolder() refuses a second instance and names the first", async () => {
  const folder = createDataFolder(root);
  const holder = await holding(root);
  expect(() => lockFolder(folder)).toThrow(`found tokengrid dev running with pid ${holder.pid}`);
  expect(holderOf(folder)).toBe(String(holder.pid));
  holder.kill("SIGTERM");
  await once(holder, "exit");
});

test("lockFolder() takes over from an instance that was killed", async () => {
  const folder = createDataFolder(root);
  const holder = await holding(root);
  holder.kill("SIGKILL");
  await once(holder, "exit");
  expect(holderOf(folder)).toBeUndefined();
  lockFolder(folder).unlock();
});

test("lockFolder() may be had again after unlock()", () => {
  const folder = createDataFolder(root);
  lockFolder(folder).unlock();
  lockFolder(folder).unlock();
  expect(holderOf(folder)).toBeUndefined();
});

test("existingFolder() says what is missing", () => {
  expect(() => existingFolder(join(root, "none"))).toThrow(
    "expected a data folder with registry.sqlite",
  );
  writeFileSync(dataFolder(root).registry, "");
  expect(existingFolder(root)).toBe(root);
});

/** Another process that holds the folder. */
async function holding(path: string) {
  const program = join(root, "hold.ts");
  const module = new URL("../../services/cli/dev/data-folder.ts", import.meta.url);
  writeFileSync(
    program,
    `import { dataFolder, lockFolder } from ${JSON.stringify(module.href)};
     lockFolder(dataFolder(${JSON.stringify(path)}));
     globalThis.gc();
     // What a collector found is closed behind it.
     setImmediate(() => process.send("held"));
     setInterval(() => {}, 1000);`,
  );
  // The lock is the process's, whether or not somebody still has what lockFolder() returned.
  const holder = fork(program, { execArgv: ["--expose-gc"] });
  await once(holder, "message");
  return holder;
}
