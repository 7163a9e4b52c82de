import { copyFileSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { LogFollower } from "../../../services/agent/witness.ts";
import { formatKey, noteKey } from "../../../services/core/settlement/proof/note.ts";
import { verifyConsistency } from "../../../services/core/settlement/proof/merkle.ts";
import { parsePolicy } from "../../../services/core/settlement/proof/tlog-policy.ts";
import {
  parseTlogProof,
  verifyTlogProof,
} from "../../../services/core/settlement/proof/tlog-proof.ts";
import { formatAddCheckpoint } from "../../../services/core/settlement/proof/witness.ts";
import { newSigningKey, sha256, verify, type SigningKey } from "../../../services/io/signing.ts";
import { openWitnessState, type WitnessState } from "../../../services/io/witness-state.ts";
import { Witness } from "../../../services/io/witness.ts";
import { tree } from "../../../services/settlement/logs/log-reader.ts";
import { LogKeyRole, LogService } from "../../../services/wire/gen/tokengrid/v1/log_pb.js";
import { testLog } from "../../core/settlement/proof-fixtures.ts";
import { north, origin, south, startUs, usage, witnessKey } from "../log-fixtures.ts";
import { northVendor, openLogServer, southVendor } from "../log-server.ts";

const signing = newSigningKey();
const vendor = witnessKey("northgrid.example/witness");
const signal = new AbortController().signal;
const logKey = noteKey({ name: origin, type: "signature", publicKey: signing.publicKey }, sha256);
const file = () => join(mkdtempSync(join(tmpdir(), "log-rpc-")), "ledger.sqlite");

type Server = Awaited<ReturnType<typeof openLogServer>>;

async function grown(path = ":memory:", count = 300): Promise<Server> {
  const server = await openLogServer(path, signing);
  const client = createClient(LogService, server.operator);
  await client.trustKey({ logId: north, role: LogKeyRole.WITNESS, key: formatKey(vendor.key) });
  await server.post([...usage(north, 0, count), ...usage(south, 0, 2)]);
  await server.sealer.round();
  return server;
}

function follower(
  server: Server,
  state: WitnessState = openWitnessState(":memory:"),
  options: { readonly isEveryLeafRead?: boolean; readonly key?: SigningKey } = {},
) {
  const keys = [
    noteKey(
      { name: origin, type: "signature", publicKey: (options.key ?? signing).publicKey },
      sha256,
    ),
  ];
  const witness = new Witness({
    key: vendor.key,
    sign: vendor.signing.sign,
    heads: state,
    keysOf: (name) => (name === origin ? keys : undefined),
    nowSeconds: () => 1_750_000_000n,
  });
  return new LogFollower({
    transport: server.transportOf(northVendor),
    logId: north,
    logKeys: keys,
    witness,
    isEveryLeafRead: options.isEveryLeafRead ?? true,
  });
}

describe("LogService", () => {
  test("lists logs with what is signed and witnessed; to a vendor its own", async () => {
    const server = await grown();
    const all = await createClient(LogService, server.operator).listLogs({});
    expect(
      all.logs.map(({ logId, size, signedSize, witnessedSize, unwitnessedSinceUs }) => [
        logId,
        size,
        signedSize,
        witnessedSize,
        unwitnessedSinceUs,
      ]),
    ).toEqual([
      [north, 301n, 301n, 0n, startUs],
      [south, 2n, 2n, 0n, undefined],
    ]);
    const own = await createClient(LogService, server.transportOf(southVendor)).listLogs({});
    expect(own.logs.map(({ logId }) => logId)).toEqual([south]);
  });

  test("a proof of a record checks offline with public keys and nothing else", async () => {
    const server = await grown();
    await follower(server).look(signal);
    const client = createClient(LogService, server.transportOf(northVendor));
    const { leaf, tlogProof } = await client.getInclusionProof({
      logId: north,
      leaf: { case: "name", value: { kind: "usage", ref: "a123:0" } },
    });
    expect([leaf?.index, leaf?.text]).toEqual([124n, '{"record_id":"a123:0"}']);
    const proof = read(parseTlogProof(tlogProof));
    const policy = read(
      parsePolicy(
        `log ${formatKey(logKey)}\nwitness v ${formatKey(vendor.key)}\nquorum v\n`,
        sha256,
      ),
    );
    const claim = { proof, leaf: leaf?.text ?? "", policy };
    expect(verifyTlogProof(claim, { tree, verify })).toMatchObject({ index: 124n });
    expect(
      verifyTlogProof({ ...claim, leaf: '{"record_id":"a124:0"}' }, { tree, verify }),
    ).toContain("not at index 124");
  });

  test("proofs by index, consistency, leaves and tiles are those of the log", async () => {
    const server = await grown();
    const client = createClient(LogService, server.transportOf(northVendor));
    const byIndex = await client.getInclusionProof({
      logId: north,
      leaf: { case: "index", value: 7n },
    });
    expect(byIndex.leaf?.ref).toBe("a6:0");
    const { hashes } = await client.getConsistencyProof({
      logId: north,
      oldSize: 100n,
      size: 301n,
    });
    const leaves: string[] = [];
    for (let from = 0; from < 301; from += 150) {
      const page = await client.listLeaves({ logId: north, fromIndex: BigInt(from), limit: 150 });
      leaves.push(...page.leaves.map(({ text }) => text));
    }
    const log = testLog(origin, leaves, signing);
    const path = hashes.map((hash) => Buffer.from(hash).toString("hex"));
    expect(
      verifyConsistency(
        { oldSize: 100n, oldRoot: log.root(100), size: 301n, root: log.root(301), path },
        tree,
      ),
    ).toBe(true);
    const tile = await client.getTile({ logId: north, level: 0, index: 0n });
    expect(Buffer.from(tile.hashes).toString("hex")).toBe(
      leaves
        .slice(0, 256)
        .map((text) => tree.leaf(text))
        .join(""),
    );
    await expect(client.getTile({ logId: north, level: 0, index: 1n })).rejects.toMatchObject({
      code: Code.NotFound,
    });
  });

  test("a leaf that no checkpoint covers yet has no proof, and the answer says so", async () => {
    const server = await grown();
    await server.post(usage(north, 300));
    const client = createClient(LogService, server.operator);
    const asked = { logId: north, leaf: { case: "index", value: 301n } } as const;
    await expect(client.getInclusionProof(asked)).rejects.toThrow(
      "expected a checkpoint that covers leaf 301",
    );
    await server.sealer.hear(north, server.sealer.logs.get(north)?.note ?? "");
    await server.sealer.round();
    expect((await client.getInclusionProof(asked)).leaf?.index).toBe(301n);
  });

  test("a vendor sees no other's log, by whatever call", async () => {
    const server = await grown();
    const client = createClient(LogService, server.transportOf(southVendor));
    const logId = north;
    const calls: readonly (() => Promise<unknown>)[] = [
      () => client.getCheckpoint({ logId }),
      () => client.getInclusionProof({ logId, leaf: { case: "index", value: 0n } }),
      () => client.getConsistencyProof({ logId, oldSize: 1n, size: 2n }),
      () => client.listLeaves({ logId }),
      () => client.getTile({ logId }),
      () => client.addCosignature({ logId, checkpoint: "x" }),
      () => client.listKeys({ logId }),
      () => client.trustKey({ logId, role: LogKeyRole.WITNESS, key: formatKey(vendor.key) }),
      () => client.listLeaves({ logId: "internal" }),
    ];
    for (const call of calls)
      await expect(call()).rejects.toMatchObject({ code: Code.PermissionDenied });
  });

  const refused: Readonly<Record<string, { readonly role: LogKeyRole; readonly key: string }>> = {
    "a text that is no key": { role: LogKeyRole.WITNESS, key: "hello" },
    "a log's key for a witness": { role: LogKeyRole.WITNESS, key: formatKey(logKey) },
    "a witness's key for a log": { role: LogKeyRole.LOG, key: formatKey(vendor.key) },
  };
  for (const [what, request] of Object.entries(refused)) {
    test(`trustKey() refuses ${what}, and says so`, async () => {
      const server = await grown();
      const client = createClient(LogService, server.operator);
      await expect(client.trustKey({ logId: north, ...request })).rejects.toThrow(/expected/);
    });
  }
});

describe("a vendor's witness that follows", () => {
  test("signs what grows, and the operator has it", async () => {
    const server = await grown();
    const state = openWitnessState(":memory:");
    const one = follower(server, state);
    expect(await one.look(signal)).toEqual({ kind: "signed", size: 301n });
    await server.post(usage(north, 300, 50));
    await server.sealer.round();
    expect(await one.look(signal)).toEqual({ kind: "signed", size: 351n });
    // Another process goes on from the state alone.
    expect(await follower(server, state).look(signal)).toEqual({ kind: "signed", size: 351n });
    const { logs } = await createClient(LogService, server.operator).listLogs({});
    expect(logs[0]).toMatchObject({ witnessedSize: 351n, refusal: "" });
    expect(server.sealer.unwitnessedSinceUs(north)).toBe(undefined);
  });

  test("waits where nothing is signed yet", async () => {
    const server = await openLogServer(":memory:", signing);
    expect(await follower(server).look(signal)).toEqual({ kind: "nothing" });
  });

  test("does not sign for a log with another key", async () => {
    const server = await grown();
    expect(await follower(server, undefined, { key: newSigningKey() }).look(signal)).toMatchObject({
      kind: "misbehaved",
    });
    expect(server.sealer.unwitnessedSinceUs(north)).toBe(startUs);
  });

  test("an operator that was restarted is heard again, and goes on", async () => {
    const path = file();
    const state = openWitnessState(":memory:");
    const before = await grown(path);
    await follower(before, state).look(signal);
    await before.store.close();
    const after = await openLogServer(path, signing);
    await after.post(usage(north, 300, 5));
    await after.sealer.round();
    expect(after.sealer.logs.get(north)?.latest?.size).toBe(301n);
    expect(await follower(after, state).look(signal)).toEqual({ kind: "signed", size: 301n });
    await after.sealer.round();
    expect(await follower(after, state).look(signal)).toEqual({ kind: "signed", size: 306n });
  });

  test("an operator that was rolled back is shown what it signed, stops, and stays stopped (C19)", async () => {
    const path = file();
    const state = openWitnessState(":memory:");
    const before = await grown(path);
    await follower(before, state).look(signal);
    await before.store.close();
    copyFileSync(path, `${path}.backup`);
    const later = await openLogServer(path, signing);
    await follower(later, state).look(signal);
    await later.post(usage(north, 300, 5));
    await later.sealer.round();
    expect(await follower(later, state).look(signal)).toEqual({ kind: "signed", size: 306n });
    await later.store.close();

    const restored = await openLogServer(`${path}.backup`, signing);
    await restored.post(usage(north, 900, 7));
    await restored.sealer.round();
    const one = follower(restored, state);
    expect(await one.look(signal)).toEqual({
      kind: "misbehaved",
      reason: "the log has 301 leaves, it had 306",
    });
    const { logs } = await createClient(LogService, restored.operator).listLogs({});
    expect(logs.find(({ logId }) => logId === north)?.refusal).toContain("a witness has seen root");
    await restored.post(usage(north, 907, 7));
    await restored.sealer.round();
    expect(restored.sealer.logs.get(north)?.latest?.size).toBe(301n);
    expect((await state.head(origin))?.size).toBe(306n);
  });

  test("a leaf that is not what was signed is found by reading every leaf", async () => {
    const server = await grown();
    const honest = server.store.leaves.bind(server.store);
    server.store.leaves = async (...asked) =>
      (await honest(...asked)).map((leaf) =>
        leaf.index === 77n ? { ...leaf, text: `${leaf.text} ` } : leaf,
      );
    expect(await follower(server).look(signal)).toMatchObject({ kind: "misbehaved" });
    // Who believes in proofs does not look at leaves.
    expect(await follower(server, undefined, { isEveryLeafRead: false }).look(signal)).toEqual({
      kind: "signed",
      size: 301n,
    });
  });
});

describe("the operator as witness of a vendor's own log", () => {
  const claims = "northgrid.example/claims";
  const own = newSigningKey();
  const texts = Array.from({ length: 30 }, (_each, at) => `claim ${at}`);
  const log = testLog(claims, texts, own);
  const fork = testLog(
    claims,
    texts.map((text) => `${text}!`),
    own,
  );

  async function open(heads?: WitnessState) {
    const server = await openLogServer(":memory:", signing, heads);
    const client = createClient(LogService, server.operator);
    await client.trustKey({ logId: north, role: LogKeyRole.LOG, key: formatKey(log.key) });
    const caller = createClient(LogService, server.transportOf(northVendor));
    const add = (oldSize: number, size: number, from = log) =>
      caller.addCheckpoint({
        body: formatAddCheckpoint({
          oldSize: BigInt(oldSize),
          path: from.consistency(oldSize, size),
          checkpoint: from.checkpoint(size),
        }),
      });
    return { ...server, client, add, caller };
  }

  test("signs growth, and keeps what it signed over a restart", async () => {
    const heads = openWitnessState(":memory:");
    const before = await open(heads);
    expect(await before.add(0, 7)).toMatchObject({ status: 200 });
    expect((await before.add(7, 12)).cosignatures).toMatch(/^— grid\.example\/witness /);
    // Its ledger was restored from before it knew the vendor; what it signed is kept apart.
    const after = await open(heads);
    expect(await after.add(7, 12)).toMatchObject({ status: 409, size: 12n });
    expect(await after.add(12, 12)).toMatchObject({ status: 200 });
    expect(await after.add(12, 20)).toMatchObject({ status: 200 });
  });

  test("says no as the protocol does", async () => {
    const { add, caller, transportOf } = await open();
    await add(0, 12);
    expect(await add(12, 12, fork)).toMatchObject({ status: 422 });
    expect(await add(12, 20, fork)).toMatchObject({ status: 422 });
    expect(await add(0, 20)).toMatchObject({ status: 409, size: 12n });
    expect(await caller.addCheckpoint({ body: "hello" })).toMatchObject({ status: 400 });
    const stranger = createClient(LogService, transportOf(southVendor));
    const body = formatAddCheckpoint({
      oldSize: 12n,
      path: log.consistency(12, 20),
      checkpoint: log.checkpoint(20),
    });
    expect(await stranger.addCheckpoint({ body })).toMatchObject({ status: 404 });
  });

  test("of requests that come at once, one wins and the others see its size", async () => {
    const { add } = await open();
    const replies = await Promise.all([add(0, 10), add(0, 12, fork), add(0, 20), add(0, 10, fork)]);
    expect(replies.filter(({ status }) => status === 200).length).toBe(1);
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200, 409]));
  });
});

function read<Value>(parsed: Value | string): Value {
  if (typeof parsed === "string") throw new Error(parsed);
  return parsed;
}
