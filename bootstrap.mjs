// Runs before `npm start` and `npm test`, on whatever Node the host has: installs the exact packages of
// the lock file when they are missing or have changed. Uses nothing that an old Node lacks.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const stamp = "node_modules/.tokengrid-lock";
const lock = createHash("sha256").update(readFileSync("package-lock.json")).digest("hex");
const isInstalled = existsSync(stamp) && readFileSync(stamp, "utf8") === lock;

if (!isInstalled) {
  console.error("installing the packages of package-lock.json");
  const npm = process.platform === "win32" ? "npm.cmd" : "npm";
  const { status } = spawnSync(npm, ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) process.exit(status ?? 1);
  writeFileSync(stamp, lock);
}

// Linux brings its own Node as a package; elsewhere the host's has to do.
if (!existsSync("node_modules/.bin/node")) {
  const [major = 0] = process.versions.node.split(".").map(Number);
  if (major < 24) {
    console.error(`tokengrid needs Node 24.14.1 or newer, found ${process.versions.node}`);
    process.exit(1);
  }
}
