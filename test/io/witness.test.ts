import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, statSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { parseSignatures } from "../../services/core/settlement/proof/note.ts";
import { signersOf } from "../../services/core/settlement/proof/cosignature.ts";
import { formatAddCheckpoint } from "../../services/core/settlement/proof/witness.ts";
import { openLog } from "../../services/io/log.ts";
import { newSigningKey, verify } from "../../services/io/signing.ts";
import { openWitnessState, WitnessStateError } from "../../services/io/witness-state.ts";
import { serveWitness, witnessLimits } from "../../services/io/witness-http.ts";
import { Witness, type WitnessHeads } from "../../services/io/witness.ts";
import { testLog } from "../core/settlement/proof-fixtures.ts";
import { witnessKey } from "../settlement/log-fixtures.ts";

const origin = "grid.example/tokengrid/vendor/northgrid";
const signing = newSigningKey();
const texts = Array.from({ length: 20 }, (_each, at) => `leaf ${at}`);
const log = testLog(origin, texts, signing);
const fork = testLog(
  origin,
  texts.map((text) => `${text}!`),
  signing,
);
const own = witnessKey("northgrid.example/witness");
const quiet = openLog({ role: "test", level: "silent" });
const stateFile = () => join(mkdtempSync(join(tmpdir(), "witness-")), "state.sqlite");

function witnessOver(heads: WitnessHeads): Witness {
  return new Witness({
    key: own.key,
    sign: own.signing.sign,
    heads,
    keysOf: (name) => (name === origin ? [log.key] : undefined),
    nowSeconds: () => 1_750_000_000n,
  });
}

function body(oldSize: number, size: number, from = log): string {
  const path = oldSize <= size ? from.consistency(oldSize, size) : [];
  return formatAddCheckpoint({ oldSize: BigInt(oldSize), path, checkpoint: from.checkpoint(size) });
}

async function served(heads: WitnessHeads = openWitnessState(":memory:")) {
  const stop = new AbortController();
  const witness = witnessOver(heads);
  const port = await serveWitness({
    host: "127.0.0.1",
    port: 0,
    prefix: "/w",
    witness,
    log: quiet,
    signal: stop.signal,
  });
  const url = `http://127.0.0.1:${port}/w/add-checkpoint`;
  const post = async (text: string | Uint8Array<ArrayBuffer>) => {
    const response = await fetch(url, { method: "POST", body: text });
    return {
      status: response.status,
      text: await response.text(),
      type: response.headers.get("content-type"),
    };
  };
  return { post, url, port, stop };
}

describe("tlog-witness over HTTP", () => {
  test("200 returns a cosignature of the checkpoint", async () => {
    const { post, stop } = await served();
    const { status, text } = await post(body(0, 7));
    expect(status).toBe(200);
    const signatures = parseSignatures(text);
    const note = {
      text: log.checkpoint(7).split("\n\n")[0] + "\n",
      signatures: typeof signatures === "string" ? [] : signatures,
    };
    expect(signersOf(note, [own.key], verify)).toEqual([
      { key: own.key, timeSeconds: 1_750_000_000n },
    ]);
    stop.abort();
  });

  test("answers with the statuses of the protocol", async () => {
    const { post, stop } = await served();
    await post(body(0, 7));
    const stranger = testLog("stranger.example/log", texts);
    const other = testLog(origin, texts);
    const cases: readonly (readonly [string, number])[] = [
      [body(7, 12, fork), 422],
      [body(7, 7, fork), 422],
      [body(12, 9), 400],
      ["hello", 400],
      [body(7, 12, other), 403],
      [body(0, 7, stranger), 404],
      [body(7, 12), 200],
    ];
    for (const [text, status] of cases) expect((await post(text)).status).toBe(status);
    expect(await post(body(0, 20))).toEqual({
      status: 409,
      text: "12\n",
      type: "text/x.tlog.size",
    });
    stop.abort();
  });

  test("other paths, other methods and bodies that are too long or no text are refused", async () => {
    const { post, url, stop } = await served();
    expect((await fetch(url)).status).toBe(405);
    expect((await fetch(url.replace("/w/", "/"), { method: "POST", body: "x" })).status).toBe(404);
    expect((await fetch(`${url}/more`, { method: "POST", body: "x" })).status).toBe(404);
    expect((await post("x".repeat(witnessLimits.bodyBytesMax + 1))).status).toBe(413);
    expect((await post(Uint8Array.from([0xff, 0xfe]))).status).toBe(413);
    expect((await post(body(0, 7))).status).toBe(200);
    stop.abort();
  });

  test("a body without an end is cut off at the bound, not kept in memory", async () => {
    const { port, stop } = await served();
    const socket = connect(port, "127.0.0.1");
    socket.write(
      "POST /w/add-checkpoint HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    const chunk = "x".repeat(16_384);
    let answer = "";
    socket.on("data", (data: Buffer) => {
      answer += data.toString();
    });
    socket.on("error", () => undefined);
    for (let sent = 0; sent < 16 && socket.writable; sent += 1)
      socket.write(`4000\r\n${chunk}\r\n`);
    await once(socket, "close");
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    stop.abort();
  });

  test("many callers at once never get two roots of one size (I24)", async () => {
    const { post, stop } = await served();
    const asked = Array.from({ length: 24 }, (_each, at) =>
      body(0, 5 + (at % 4), at % 2 === 0 ? log : fork),
    );
    const replies = await Promise.all(asked.map((text) => post(text)));
    expect(replies.filter(({ status }) => status === 200).length).toBe(1);
    stop.abort();
  });

  test("what cannot be kept is not signed", async () => {
    const failing: WitnessHeads = {
      head: async () => undefined,
      update: async () => {
        throw new Error("disk full");
      },
    };
    const { post, stop } = await served(failing);
    const { status, text } = await post(body(0, 7));
    expect([status, text]).toEqual([500, "the witness could not keep it\n"]);
    stop.abort();
  });

  test("a caller that never sends its headers does not hold up others", async () => {
    const { post, port, stop } = await served();
    const idle = httpRequest({
      port,
      host: "127.0.0.1",
      method: "POST",
      path: "/w/add-checkpoint",
    });
    const cut = new Promise((resolve) => {
      idle.on("error", resolve);
    });
    idle.write("old");
    expect((await post(body(0, 7))).status).toBe(200);
    stop.abort();
    await cut;
  });
});

describe("a witness's state", () => {
  test("goes on after a restart where it was (C12)", async () => {
    const path = stateFile();
    const before = openWitnessState(path);
    expect((await witnessOver(before).add(body(0, 7))).status).toBe(200);
    before.close();
    const after = openWitnessState(path);
    const witness = witnessOver(after);
    expect(await witness.add(body(0, 7, fork))).toEqual({ status: 409, size: 7n });
    expect((await witness.add(body(7, 12))).status).toBe(200);
    expect(after.origins()).toEqual([origin]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    after.close();
  });

  test("is held by one process: two could sign two things", () => {
    const path = stateFile();
    const first = openWitnessState(path);
    expect(() => openWitnessState(path)).toThrow(WitnessStateError);
    first.close();
    openWitnessState(path).close();
  });

  test("is on disk before the answer: what was signed is there after kill -9", async () => {
    const path = stateFile();
    const child = spawn(process.execPath, ["--input-type=module", "-e", dying(path)], {
      cwd: process.cwd(),
    });
    let said = "";
    child.stdout.on("data", (data: Buffer) => {
      said += data.toString();
    });
    await once(child, "exit");
    const state = openWitnessState(path);
    expect([child.signalCode, said, (await state.head("log"))?.size]).toEqual([
      "SIGKILL",
      "signed",
      3n,
    ]);
    state.close();
  });

  test("a file that is no state is refused, and left as it is", () => {
    const path = stateFile();
    openWitnessState(path).close();
    chmodSync(path, 0o644);
    openWitnessState(path).close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(() => openWitnessState("/nowhere/state.sqlite")).toThrow(/ENOENT/);
  });
});

/** A process that keeps a head and dies at once. */
function dying(path: string): string {
  return `
    import { openWitnessState } from "./services/io/witness-state.ts";
    import { writeSync } from "node:fs";
    const state = openWitnessState(${JSON.stringify(path)});
    await state.update("log", "note", () => ({ status: 200, head: { size: 3n, root: "r" } }));
    writeSync(1, "signed");
    process.kill(process.pid, "SIGKILL");
  `;
}
