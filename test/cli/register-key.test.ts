import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { command } from "../../services/cli/commands/contract.ts";
import { complaintOf, exitCodeOf } from "../../services/cli/outcome.ts";
import type { PairId } from "../../services/core/units.ts";
import type { Identity } from "../../services/io/grpc-identity.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../services/io/ledger-store.ts";
import { openLog } from "../../services/io/log.ts";
import { serveRpc, type RpcServer } from "../../services/io/rpc-server.ts";
import { newSigningKey, readSigningKey } from "../../services/io/signing.ts";
import { Documents } from "../../services/settlement/documents.ts";
import { LedgerWriter } from "../../services/settlement/ingest/ledger-writer.ts";
import { serveTerms } from "../../services/settlement/terms/terms-rpc.ts";
import { Terms } from "../../services/settlement/terms/terms.ts";

const log = openLog({ role: "test", level: "silent" });
const stop = new AbortController();
const party = "vendor:northgrid" as PairId;
/** Who the credential in a file says that the caller is. */
const vendor: Identity = { kind: "vendor", subject: "northgrid" };

let folder: string;
let store: LedgerStore;
let terms: Terms;
let server: RpcServer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "register-key-"));
  writeFileSync(join(folder, "vendor.key"), "secret\n", { mode: 0o600 });
  store = await openSqliteLedger(":memory:");
  const writer = new LedgerWriter({ store, log });
  const documents = new Documents();
  const operator = { kid: "operator", ...newSigningKey() };
  terms = new Terms({ documents, writer, operator, calendars: [], nowUs: () => 1n, log });
  await documents.follow(store, writer);
  await terms.start();
  server = await serveRpc({
    ...{ host: "127.0.0.1", port: 0, log, signal: stop.signal },
    routes: (router) => serveTerms(router, { terms }),
    identify: () => vendor,
  });
});

afterAll(async () => {
  stop.abort();
  await server.close();
  await store.close();
  rmSync(folder, { recursive: true });
});

/** What it prints, or what it complains of. */
async function register(...words: readonly string[]): Promise<string> {
  const written: string[] = [];
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    written.push(String(text));
    return true;
  });
  try {
    const as = ["--token-file", join(folder, "vendor.key")];
    const all = ["register-key", ...words, ...as, "--addr", `http://127.0.0.1:${server.port}`];
    await command().exitOverride().parseAsync(all, { from: "user" });
    return written.join("");
  } catch (error) {
    return `${exitCodeOf(error)}: ${complaintOf(error)}`;
  } finally {
    write.mockRestore();
    process.exitCode = 0;
  }
}

test("tokengrid contract register-key makes a key, puts it on file, and again changes nothing", async () => {
  const first = join(folder, "first.pem");
  const words = [party, "--key", first, "--kid", "northgrid/1"];
  const said = await register(...words);
  const made = await readSigningKey(first);
  expect(said).toBe(`northgrid/1: on file for ${party}, public key ${made?.publicKey}\n`);
  expect(terms.state.keyOf(party, "northgrid/1")).toBe(made?.publicKey);
  expect(await register(...words)).toBe(said);

  const second = [party, "--key", join(folder, "second.pem"), "--kid", "northgrid/2"];
  expect(await register(...second)).toContain("jws: ");
  expect(terms.state.keyOf(party, "northgrid/2")).toBeUndefined();
  expect(await register(...second, "--by-key", first, "--by-kid", "northgrid/1")).toContain(
    "northgrid/2: on file",
  );
});

test("tokengrid contract register-key puts nothing on file in another's name", async () => {
  const words = ["vendor:south", "--key", join(folder, "south.pem"), "--kid", "south/1"];
  expect(await register(...words)).toContain("party_id: expected vendor:northgrid");
});
