import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import { registrySuite } from "./registry-suite.ts";

const folder = mkdtempSync(join(tmpdir(), "tokengrid-registry-"));

afterAll(() => rmSync(folder, { recursive: true }));

registrySuite("SQLite", (store) => openSqliteRegistry(join(folder, store)));
