import { copyFileSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { parseCheckpoint } from "../../../services/core/settlement/proof/checkpoint.ts";
import { cosign, signersOf } from "../../../services/core/settlement/proof/cosignature.ts";
import { verifyConsistency } from "../../../services/core/settlement/proof/merkle.ts";
import { parseNote, type NoteKey } from "../../../services/core/settlement/proof/note.ts";
import { noteKey } from "../../../services/core/settlement/proof/note.ts";
import { newSigningKey, sha256, verify, type SigningKey } from "../../../services/io/signing.ts";
import { openSignedHeads } from "../../../services/io/signed-heads.ts";
import { Witness } from "../../../services/io/witness.ts";
import { serveWitness } from "../../../services/io/witness-http.ts";
import { openWitnessState } from "../../../services/io/witness-state.ts";
import { LogReader, tree } from "../../../services/settlement/logs/log-reader.ts";
import {
  log,
  north,
  openProcess,
  origin,
  south,
  startUs,
  usage,
  witnessKey,
  type Process,
} from "../log-fixtures.ts";

const signing = newSigningKey();
const secondUs = 1_000_000n;
const minuteUs = 60n * secondUs;
const file = () => join(mkdtempSync(join(tmpdir(), "sealer-")), "ledger.sqlite");
const vendor = witnessKey("northgrid.example/witness");

function latest({ sealer }: Process, pair = north) {
  const text = sealer.logs.get(pair)?.note ?? "";
  const note = parseNote(text);
  if (typeof note === "string") throw new Error(note);
  const checkpoint = parseCheckpoint(note.text);
  if (typeof checkpoint === "string") throw new Error(checkpoint);
  return { text, note, ...checkpoint };
}

/** What the vendor's witness shows after it has seen the last checkpoint. */
function cosigned(process: Process, by = vendor): string {
  const { text, note } = latest(process);
  const timeSeconds = process.nowUs() / 1_000_000n;
  return text + cosign(note.text, { key: by.key, sign: by.signing.sign, timeSeconds });
}

async function trust({ logKeys, writer }: Process, key: NoteKey): Promise<void> {
  await logKeys.trust(writer, {
    log: north,
    role: "witness",
    key,
    isWithdrawn: false,
    atUs: startUs,
  });
}

describe("Sealer", () => {
  test("signs every log that has grown, under its own origin, and nothing that has not", async () => {
    const process = await openProcess(":memory:", signing);
    await process.post([...usage(north, 0, 5), ...usage(south, 5, 2), ...usage("internal", 0)]);
    await process.sealer.round();
    expect(latest(process)).toMatchObject({ origin, size: 5n });
    expect(latest(process, south)).toMatchObject({
      origin: "grid.example/tokengrid/vendor/southgrid",
      size: 2n,
    });
    const key = noteKey({ name: origin, type: "signature", publicKey: signing.publicKey }, sha256);
    expect(signersOf(latest(process).note, [key], verify)).toEqual([
      { key, timeSeconds: undefined },
    ]);
    const first = latest(process).text;
    await process.sealer.round();
    expect(latest(process).text).toBe(first);
    expect(
      await process.metrics.getSingleMetricAsString("tokengrid_log_checkpoints_total"),
    ).toContain(" 3");
  });

  test("each checkpoint is consistent with each later one (I21)", async () => {
    const process = await openProcess(":memory:", signing);
    const seen: { size: bigint; root: string }[] = [];
    for (let turn = 0; turn < 12; turn += 1) {
      await process.post(usage(north, turn * 37, 37));
      await process.sealer.round();
      const { size, root } = latest(process);
      seen.push({ size, root });
    }
    const reader = new LogReader(process.store);
    for (const [at, { size, root }] of seen.entries()) {
      for (const old of seen.slice(0, at)) {
        const path = await reader.consistency(north, old.size, size);
        expect(
          verifyConsistency({ oldSize: old.size, oldRoot: old.root, size, root, path }, tree),
        ).toBe(true);
      }
    }
  });

  test("a crash between keeping and signing: the same checkpoint is signed when it is back (C11)", async () => {
    const path = file();
    // The document is on disk, and the process ends before it hears so.
    const dying = await openProcess(path, signing, {}, (writer) => ({
      write: async (work) => {
        await writer.write(work);
        throw new Error("killed");
      },
    }));
    await dying.post(usage(north, 0, 5));
    await expect(dying.sealer.round()).rejects.toThrow("killed");
    expect(dying.sealer.logs.get(north)?.note).toBe(undefined);
    const kept = await dying.store.document("checkpoint", `${north}#1`);
    await dying.store.close();

    const after = await openProcess(path, signing);
    await after.sealer.round();
    const signed = latest(after);
    expect(kept?.body).toBe(
      `{"key":"${signing.publicKey}","origin":"${origin}","root":"${signed.root}","size":"${signed.size}","type":"checkpoint","v":"1"}`,
    );
    // Nothing was kept twice.
    expect(await after.store.document("checkpoint", `${north}#2`)).toBe(undefined);
  });

  test("a leaf that is appended and not yet in a checkpoint is in the next one, at its index (C10)", async () => {
    const path = file();
    const before = await openProcess(path, signing);
    await before.post(usage(north, 0, 3));
    const [leaf] = await before.store.leaves(north, 2n, 1);
    const after = await openProcess(path, signing);
    await after.sealer.round();
    expect(latest(after).size).toBe(3n);
    expect(await after.store.leaves(north, 2n, 1)).toEqual([leaf]);
  });

  test("what cannot be kept is not signed", async () => {
    const process = await openProcess(":memory:", signing, {}, () => ({
      write: async () => {
        throw new Error("disk full");
      },
    }));
    await process.post(usage(north, 0, 5));
    await expect(process.sealer.round()).rejects.toThrow("disk full");
    expect(process.sealer.logs.get(north)?.note).toBe(undefined);
  });

  test("1,000 leaves do not wait for the second to end", async () => {
    const process = await openProcess(":memory:", signing);
    await process.post(usage(north, 0, 1_000));
    process.sealer.noteLeaves(999);
    expect(process.sealer.logs.size).toBe(0);
    process.sealer.noteLeaves(1);
    await process.sealer.round();
    expect(latest(process).size).toBe(1_000n);
    await process.sealer.close();
  });
});

describe("a witness that follows", () => {
  async function followed(path = ":memory:") {
    const process = await openProcess(path, signing);
    await trust(process, vendor.key);
    await process.post(usage(north, 0, 5));
    await process.sealer.round();
    return process;
  }

  test("its signature stands in the checkpoint, and nothing waits any more", async () => {
    const process = await followed();
    expect(process.sealer.unwitnessedSinceUs(north)).toBe(startUs);
    process.pass(5n * secondUs);
    expect(await process.sealer.hear(north, cosigned(process))).toBe(undefined);
    expect(process.sealer.unwitnessedSinceUs(north)).toBe(undefined);
    const signers = signersOf(latest(process).note, [vendor.key], verify);
    expect(signers).toEqual([{ key: vendor.key, timeSeconds: startUs / 1_000_000n + 5n }]);
  });

  test("who waits is counted from the first checkpoint that it has not signed", async () => {
    const process = await followed();
    const old = cosigned(process);
    process.pass(10n * secondUs);
    await process.post(usage(north, 5, 1));
    await process.sealer.round();
    process.pass(60n * secondUs);
    await process.post(usage(north, 6, 1));
    await process.sealer.round();
    expect(process.sealer.unwitnessedSinceUs(north)).toBe(startUs);
    await process.sealer.hear(north, old);
    expect(process.sealer.unwitnessedSinceUs(north)).toBe(startUs + 10n * secondUs);
    expect(
      await process.metrics.getSingleMetricAsString("tokengrid_log_unwitnessed_seconds"),
    ).toContain(" 60");
    expect(
      await process.metrics.getSingleMetricAsString("tokengrid_log_unwitnessed_logs"),
    ).toContain(" 0");
    process.pass(secondUs);
    await process.sealer.round();
    expect(
      await process.metrics.getSingleMetricAsString("tokengrid_log_unwitnessed_logs"),
    ).toContain(" 1");
  });

  test("a log without a witness waits for nobody", async () => {
    const process = await openProcess(":memory:", signing);
    await process.post(usage(north, 0, 5));
    await process.sealer.round();
    expect(process.sealer.unwitnessedSinceUs(north)).toBe(undefined);
  });

  test("a stranger, another log and a note that the log did not sign are refused, and change nothing", async () => {
    const process = await followed();
    const stranger = witnessKey("stranger.example");
    const foreign = await openProcess(":memory:", newSigningKey());
    await foreign.post(usage(north, 100, 9));
    await foreign.sealer.round();
    expect(await process.sealer.hear(north, "hello")).toContain("expected");
    expect(await process.sealer.hear(north, cosigned(process, stranger))).toContain(
      "expected a signature of a witness",
    );
    expect(await process.sealer.hear(north, latest(process).text)).toContain(
      "expected a signature of a witness",
    );
    expect(await process.sealer.hear(north, cosigned(foreign))).toContain(
      "expected a checkpoint that",
    );
    expect(process.sealer.refusals.size).toBe(0);
    expect(process.sealer.unwitnessedSinceUs(north)).toBe(startUs);
  });

  test("a key that is no longer trusted is a stranger's; its leaves say so", async () => {
    const process = await followed();
    const shown = cosigned(process);
    const said = { log: north, role: "witness", key: vendor.key, atUs: startUs } as const;
    await process.logKeys.trust(process.writer, { ...said, isWithdrawn: true });
    await process.logKeys.trust(process.writer, { ...said, isWithdrawn: true });
    expect(await process.sealer.hear(north, shown)).toContain("expected a signature of a witness");
    const leaves = await process.store.leaves(north, 0n, 100);
    expect(
      leaves
        .filter(({ kind }) => kind === "key")
        .map(({ text }) => text.includes('"withdrawn":true')),
    ).toEqual([false, true]);
  });

  test("after a restart a known witness is heard before anything new is signed, and the wait goes on", async () => {
    const path = file();
    const before = await followed(path);
    const shown = cosigned(before);
    await before.sealer.hear(north, shown);
    before.pass(minuteUs);
    await before.post(usage(north, 5, 1));
    await before.sealer.round();
    const signed = latest(before).text;
    await before.store.close();

    const after = await openProcess(path, signing);
    after.pass(90n * minuteUs);
    await after.post(usage(north, 6, 1));
    await after.sealer.round();
    // What was signed before is signed again with the same bytes; what is new waits.
    expect(latest(after).text).toBe(signed);
    expect(after.sealer.unwitnessedSinceUs(north)).toBe(startUs + minuteUs);
    expect(await after.sealer.hear(north, shown)).toBe(undefined);
    await after.sealer.round();
    expect(latest(after).size).toBe(8n);
    expect(after.sealer.refusals.size).toBe(0);
  });

  test("restored from an old backup it signs nothing more, and says so (C19)", async () => {
    const path = file();
    const before = await followed(path);
    await before.sealer.hear(north, cosigned(before));
    const backup = `${path}.backup`;
    await before.store.close();
    copyFileSync(path, backup);

    const later = await openProcess(path, signing);
    await later.sealer.round();
    await later.sealer.hear(north, cosigned(later));
    await later.post(usage(north, 5, 4));
    await later.sealer.round();
    const seen = cosigned(later);
    await later.sealer.hear(north, seen);
    await later.store.close();

    const restored = await openProcess(backup, signing);
    await restored.post(usage(north, 900, 6));
    await restored.sealer.round();
    expect(latest(restored).size).toBe(6n);
    expect(await restored.sealer.hear(north, seen)).toBe(undefined);
    expect(restored.sealer.refusals.get(north)).toMatch(/a witness has seen root .* of 10 leaves/);
    expect(restored.sealer.unwitnessedSinceUs(north)).toBe(0n);
    expect(await restored.metrics.getSingleMetricAsString("tokengrid_log_refused_logs")).toContain(
      " 1",
    );
    await restored.sealer.round();
    expect(latest(restored).size).toBe(6n);
  });

  test("a log that is shorter than its witness saw is refused before it signs (C19)", async () => {
    const path = file();
    const before = await followed(path);
    await before.sealer.hear(north, cosigned(before));
    await before.store.close();
    const backup = `${path}.backup`;
    copyFileSync(path, backup);
    const later = await openProcess(path, signing);
    await later.sealer.round();
    await later.sealer.hear(north, cosigned(later));
    await later.post(usage(north, 5, 4));
    await later.sealer.round();
    const seen = cosigned(later);
    await later.store.close();

    const restored = await openProcess(backup, signing);
    await restored.sealer.hear(north, seen);
    expect(restored.sealer.refusals.get(north)).toBe("a witness has seen 10 leaves, the log has 6");
  });
});

describe("what was signed, apart from the ledger", () => {
  const signedFile = (): string => join(mkdtempSync(join(tmpdir(), "signed-")), "signed-heads");

  /** Ten leaves are signed; a copy of the ledger has only the first six of them, all of them signed. */
  async function rolledBack(leavesInCopy = 6) {
    const [path, backup, signed] = [file(), file(), signedFile()];
    const heads = await openSignedHeads(signed);
    const before = await openProcess(path, signing, { heads });
    await before.post(usage(north, 0, leavesInCopy));
    await before.sealer.round();
    await before.store.close();
    copyFileSync(path, backup);
    const lost = await openProcess(path, signing, { heads });
    await lost.post([...usage(north, 100, 4), ...usage(south, 0, 2)]);
    await lost.sealer.round();
    await lost.store.close();
    await heads.close();
    const kept = await openSignedHeads(signed);
    onTestFinished(() => kept.close());
    return { backup, heads: kept };
  }

  test("an old ledger is found out without any witness, and nothing of it is signed (C19)", async () => {
    const { backup, heads } = await rolledBack();
    const restored = await openProcess(backup, signing, { heads });
    await restored.sealer.openAll();
    expect([...restored.sealer.refusals]).toEqual([
      [north, "10 leaves were signed, the log has 6"],
      [south, "2 leaves were signed, the log has 0"],
    ]);
    await restored.post(usage(north, 900, 9));
    await restored.sealer.round();
    expect(restored.sealer.logs.get(north)?.note).toBe(undefined);
    expect(await restored.metrics.getSingleMetricAsString("tokengrid_log_refused_logs")).toContain(
      " 2",
    );
  });

  test("also when it has grown beyond what was signed (C19)", async () => {
    const { backup, heads } = await rolledBack();
    const restored = await openProcess(backup, signing, { heads });
    await restored.post(usage(north, 900, 9));
    await restored.sealer.round();
    expect(restored.sealer.refusals.get(north)).toMatch(
      /^root [\w+/=]{44} of 10 leaves was signed, the log has [\w+/=]{44}$/,
    );
    // No word about the key either: nothing is added to a log that is not what was signed.
    const other = await openProcess(backup, newSigningKey(), {
      heads,
      keys: { current: newSigningKey(), previous: signing },
    });
    await other.sealer.openAll();
    expect((await other.store.logs()).get(north)).toBe(15n);
  });

  test("a log with the leaves that were signed is signed on", async () => {
    const { backup, heads } = await rolledBack();
    const restored = await openProcess(backup, signing, { heads });
    await restored.post([...usage(north, 100, 4), ...usage(south, 0, 2), ...usage(north, 200, 1)]);
    await restored.sealer.round();
    expect([restored.sealer.refusals.size, latest(restored).size]).toEqual([0, 11n]);
    expect(heads.head(north)).toMatchObject({ size: 11n, root: latest(restored).root });
  });

  test("what cannot be kept apart is not signed, and the ledger has no checkpoint of it either", async () => {
    const heads = await openSignedHeads(signedFile());
    await heads.close();
    const process = await openProcess(":memory:", signing, { heads });
    await process.post(usage(north, 0, 5));
    await expect(process.sealer.round()).rejects.toThrow("it is closed");
    expect(process.sealer.logs.get(north)?.note).toBe(undefined);
    expect(await process.store.document("checkpoint", `${north}#1`)).toBe(undefined);
  });
});

describe("a key that goes", () => {
  test("by its own word, in a leaf, and old checkpoints still verify (C20)", async () => {
    const path = file();
    const before = await openProcess(path, signing);
    await before.post(usage(north, 0, 5));
    await before.sealer.round();
    const old = latest(before);
    await before.store.close();
    const next = newSigningKey();
    const after = await openProcess(path, next, { keys: { current: next, previous: signing } });
    await after.sealer.round();
    expect(after.sealer.refusals.size).toBe(0);
    await after.sealer.round();
    const [leaf] = await after.store.leaves(north, 5n, 1);
    expect([leaf?.kind, latest(after).size]).toEqual(["key", 6n]);
    expect(signedWith(old.note, signing)).toBe(true);
    expect(signedWith(latest(after).note, next)).toBe(true);
    await after.store.close();
    // The next process knows by the leaf, without the old key.
    const third = await openProcess(path, next);
    await third.post(usage(north, 5, 1));
    await third.sealer.round();
    expect([third.sealer.refusals.size, latest(third).size]).toEqual([0, 7n]);
  });

  test("says so once, though a witness comes while the log is looked at for the first time", async () => {
    const path = file();
    const before = await openProcess(path, signing);
    await before.post(usage(north, 0, 5));
    await before.sealer.round();
    const note = before.sealer.logs.get(north)?.note ?? "";
    await before.store.close();
    const next = newSigningKey();
    let us = startUs;
    const after = await openProcess(path, next, {
      keys: { current: next, previous: signing },
      nowUs: () => (us += 1n),
    });
    const heard = after.sealer.hear(north, note);
    await after.sealer.round();
    expect(await heard).toMatch(/^expected a signature of a witness/);
    expect((await after.store.logs()).get(north)).toBe(6n);
  });

  test("is still believed of what it signed, by whoever may not take its place", async () => {
    const path = file();
    const before = await openProcess(path, signing);
    await trust(before, vendor.key);
    await before.post(usage(north, 0, 5));
    await before.sealer.round();
    const shown = cosigned(before);
    await before.store.close();
    const after = await openProcess(path, newSigningKey());
    expect(await after.sealer.hear(north, shown)).toBe(undefined);
    expect(after.sealer.refusals.get(north)).toMatch(/^expected the key/);
  });

  test("by the root key when it is lost", async () => {
    const path = file();
    const [root, next] = [newSigningKey(), newSigningKey()];
    const before = await openProcess(path, signing, { keys: { current: signing, root } });
    await before.post(usage(north, 0, 5));
    await before.sealer.round();
    await before.store.close();
    const after = await openProcess(path, next, { keys: { current: next, root } });
    await after.sealer.round();
    await after.sealer.round();
    expect(after.sealer.refusals.size).toBe(0);
    expect(signedWith(latest(after).note, next)).toBe(true);
  });

  test("by nobody's word: nothing is signed", async () => {
    const path = file();
    const before = await openProcess(path, signing);
    await before.post(usage(north, 0, 5));
    await before.sealer.round();
    await before.store.close();
    const thief = newSigningKey();
    const after = await openProcess(path, thief);
    await after.post(usage(north, 5, 5));
    await after.sealer.round();
    expect(after.sealer.refusals.get(north)).toMatch(
      /^expected the key [0-9a-f]{64} that signs for .*, found [0-9a-f]{64}: .*previousKeyPath.*rootKeyPath/,
    );
    expect(after.sealer.logs.get(north)?.note).toBe(undefined);
  });
});

describe("a witness that is asked over HTTP", () => {
  async function asked(
    path = ":memory:",
    state = openWitnessState(":memory:"),
    signer: SigningKey = signing,
  ) {
    const stop = new AbortController();
    const key = noteKey({ name: origin, type: "signature", publicKey: signing.publicKey }, sha256);
    const witness = new Witness({
      key: vendor.key,
      sign: vendor.signing.sign,
      heads: state,
      keysOf: (name) => (name === origin ? [key] : undefined),
      nowSeconds: () => 1_750_000_123n,
    });
    const port = await serveWitness({
      host: "127.0.0.1",
      port: 0,
      prefix: "/w",
      witness,
      log,
      signal: stop.signal,
    });
    const url = `http://127.0.0.1:${port}/w`;
    const process = await openProcess(path, signer, {
      httpWitnesses: [{ url, key: vendor.key, logs: new Set([north]) }],
    });
    const round = async (): Promise<void> => {
      await process.sealer.round();
      await process.sealer.asked();
    };
    return { process, state, round, stop };
  }

  test("signs what has grown, again and again", async () => {
    const { process, round, stop } = await asked();
    for (let turn = 0; turn < 3; turn += 1) {
      await process.post(usage(north, turn * 4, 4));
      await round();
      const signers = signersOf(latest(process).note, [vendor.key], verify);
      expect([signers, latest(process).size]).toEqual([
        [{ key: vendor.key, timeSeconds: 1_750_000_123n }],
        BigInt(turn * 4 + 4),
      ]);
    }
    expect(process.sealer.unwitnessedSinceUs(north)).toBe(undefined);
    stop.abort();
  });

  test("after a restart it is asked how far it is before anything new is signed", async () => {
    const path = file();
    const first = await asked(path);
    await first.process.post(usage(north, 0, 4));
    await first.round();
    await first.process.store.close();
    const second = await asked(path, first.state);
    await second.process.post(usage(north, 4, 4));
    await second.round();
    expect(latest(second.process).size).toBe(4n);
    await second.round();
    expect(latest(second.process).size).toBe(8n);
    expect(signersOf(latest(second.process).note, [vendor.key], verify).length).toBe(1);
    first.stop.abort();
    second.stop.abort();
  });

  test("a log restored from an old backup is found out, and nothing of it is signed (C19)", async () => {
    const path = file();
    const first = await asked(path);
    await first.process.post(usage(north, 0, 4));
    await first.round();
    await first.process.store.close();
    const backup = `${path}.backup`;
    copyFileSync(path, backup);
    const second = await asked(path, first.state);
    await second.process.post(usage(north, 4, 4));
    await second.round();
    await second.round();
    expect((await first.state.head(origin))?.size).toBe(8n);
    await second.process.store.close();

    const restored = await asked(backup, first.state);
    await restored.process.post(usage(north, 900, 2));
    await restored.round();
    expect(restored.process.sealer.refusals.get(north)).toBe(
      "a witness has seen 8 leaves, the log has 6",
    );
    expect(latest(restored.process).size).toBe(4n);
    for (const { stop } of [first, second, restored]) stop.abort();
  });

  test("a witness that is away holds up nobody, and is counted", async () => {
    const { process, round, stop } = await asked();
    stop.abort();
    await process.post(usage(north, 0, 4));
    await round();
    expect(latest(process).size).toBe(4n);
    expect(process.sealer.unwitnessedSinceUs(north)).toBe(startUs);
    expect(
      await process.metrics.getSingleMetricAsString("tokengrid_log_witness_requests_total"),
    ).toContain('{result="unreachable"} 1');
  });
});

function signedWith(note: ReturnType<typeof latest>["note"], { publicKey }: SigningKey): boolean {
  const key = noteKey({ name: origin, type: "signature", publicKey }, sha256);
  const signers = signersOf(note, [key], verify);
  return typeof signers !== "string" && signers.length === 1;
}
