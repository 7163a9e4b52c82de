import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toJsonString } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { Registry as Metrics } from "prom-client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { signDetached } from "../../../services/core/settlement/proof/jws.ts";
import { dayOf } from "../../../services/core/settlement/statements/period.ts";
import { termsJwsType } from "../../../services/core/settlement/terms/consent.ts";
import { defaultContract } from "../../../services/core/settlement/terms/contract.ts";
import type { PartnerContract } from "../../../services/core/settlement/terms/other-contracts.ts";
import { defaultPairTerms } from "../../../services/core/settlement/terms/pair-terms.ts";
import { bookText, contractText } from "../../../services/core/settlement/terms/terms-text.ts";
import type { AttemptId } from "../../../services/core/units.ts";
import { openIdentities } from "../../../services/io/grpc-identity.ts";
import { createKey, type KeyKind } from "../../../services/io/keys.ts";
import { openLog } from "../../../services/io/log.ts";
import { loadCalendar } from "../../../services/io/preset.ts";
import { openSqliteRegistry } from "../../../services/io/registry-sqlite.ts";
import type { Registry } from "../../../services/io/registry.ts";
import { rpcTransport } from "../../../services/io/rpc-client.ts";
import { serveRpc, type RpcServer } from "../../../services/io/rpc-server.ts";
import { newSigningKey, sha256 } from "../../../services/io/signing.ts";
import { openSettlement, type Settlement } from "../../../services/settlement/main.ts";
import { ContractService, TermsKind } from "../../../services/wire/gen/tokengrid/v1/contract_pb.js";
import { LogService } from "../../../services/wire/gen/tokengrid/v1/log_pb.js";
import { PriceBookSchema } from "../../../services/wire/gen/tokengrid/v1/price_pb.js";
import { SettlementService } from "../../../services/wire/gen/tokengrid/v1/settlement_pb.js";
import { RecordStatus, UsageService } from "../../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { fromPriceBook } from "../../../services/wire/price.ts";
import { fromUsageRecord } from "../../../services/wire/usage.ts";
import { friday, usageRecord } from "../../core/settlement/fixtures.ts";
import { buyBook, licenceBook, owner } from "../../core/settlement/market.ts";

/** A contract with the owner of a model, agreed over the wire. Each test goes on from the last. */

const usPerHour = 3_600_000_000n;
const fromUs = friday + usPerHour;
const calendar = loadCalendar();
const licence = { ...licenceBook, calendar, effectiveFromUs: fromUs };
const contract: PartnerContract = {
  ...defaultPairTerms,
  ...{ id: "qwen", version: 1n, pair: owner, effectiveFromUs: fromUs },
  ...{ touBasis: defaultContract.touBasis, touGraceUs: defaultContract.touGraceUs },
  ...{ attemptNanoMax: defaultContract.attemptNanoMax, licenceBook: licence.id },
  models: [...new Set(licence.lines.map(({ model }) => model))],
};
const key = newSigningKey();
const log = openLog({ role: "test", level: "silent" });
const stop = new AbortController();
const secrets = new Map<KeyKind, string>();
let nowUs = friday;
let folder: string;
let registry: Registry;
let settlement: Settlement;
let server: RpcServer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-model-owner-"));
  registry = await openSqliteRegistry(join(folder, "registry.sqlite"));
  const entry = { author: "northgrid", baseRevision: 0, comment: "" };
  const value = toJsonString(PriceBookSchema, fromPriceBook({ ...buyBook, calendar }));
  await registry.set({
    ...{ ...entry, kind: "price-book", key: `${buyBook.id}@${buyBook.version}`, value },
  });
  for (const [kind, subject] of [
    ["model", "qwen"],
    ["channel", "west"],
    ["vendor", "northgrid"],
    ["tenant", "acme"],
  ] as const) {
    const { secret, record } = createKey({ kind, subject, nowUs });
    secrets.set(kind, secret);
    const kept = { kind: "key", key: record.prefix, value: JSON.stringify(record) } as const;
    await registry.set({ ...entry, ...kept });
  }
  const { signal } = stop;
  settlement = await openSettlement({
    ...{ registry, log, signal, domain: "grid.example", metrics: new Metrics() },
    ...{ ledger: join(folder, "ledger.sqlite"), secretsPath: join(folder, "secrets") },
    clock: { now: () => Number(nowUs / 1_000n) },
  });
  server = await serveRpc({
    ...{ host: "127.0.0.1", port: 0, signal, log },
    routes: (router) => settlement.routes(router),
    identify: await openIdentities({ registry, log, signal }),
  });
});

afterAll(async () => {
  stop.abort();
  await server.close();
  await settlement.close();
  await registry.close();
  rmSync(folder, { recursive: true });
});

/** Without a kind it is the operator. */
function as(kind?: KeyKind) {
  const url = `http://127.0.0.1:${server.port}`;
  const credential = kind && secrets.get(kind);
  const transport = rpcTransport(credential === undefined ? { url } : { url, credential });
  return {
    contracts: createClient(ContractService, transport),
    logs: createClient(LogService, transport),
    settle: createClient(SettlementService, transport),
    usage: createClient(UsageService, transport),
  };
}

const others = ["channel", "vendor", "tenant"] as const;

async function codeOf(call: Promise<unknown>): Promise<Code | undefined> {
  return call.then(
    () => undefined,
    (error: unknown) => ConnectError.from(error).code,
  );
}

function signed(text: string): string {
  return signDetached(text, { kid: "qwen/1", typ: termsJwsType }, key.sign);
}

test("the owner puts its key on file and signs its contract; others do not know of it", async () => {
  const { contracts } = as("model");
  const file = { partyId: owner, kid: "qwen/1", publicKey: key.publicKey, jws: "" };
  for (const kind of others) {
    expect(await codeOf(as(kind).contracts.registerPartyKey(file))).toBe(Code.PermissionDenied);
  }
  await contracts.registerPartyKey(file);
  const text = contractText(contract);
  const kind = TermsKind.CONTRACT;
  await as().contracts.proposeTerms({ kind, canonicalJson: text });
  const sign = { kind, termsId: "qwen@1", hash: sha256(text) };
  for (const other of others) {
    const call = as(other).contracts.signTerms({ ...sign, jws: signed(text) });
    expect(await codeOf(call)).toBe(Code.NotFound);
  }
  await contracts.signTerms({ ...sign, jws: signed(text) });
  const { terms } = await as().contracts.signTerms({ ...sign, jws: "" });
  expect(terms?.missingParties).toEqual([]);
});

test("the operator may hand in what the owner signed, and nobody else's signature counts for it", async () => {
  const text = bookText(licence);
  const kind = TermsKind.PRICE_VERSION;
  const { contracts } = as();
  const { terms } = await contracts.proposeTerms({ kind, canonicalJson: text });
  const sign = { kind, termsId: terms?.termsId ?? "", hash: sha256(text) };
  const stranger = newSigningKey();
  const forged = signDetached(text, { kid: "qwen/1", typ: termsJwsType }, stranger.sign);
  expect(await codeOf(contracts.signTerms({ ...sign, jws: forged }))).toBe(Code.InvalidArgument);
  await contracts.signTerms({ ...sign, jws: signed(text) });
  await contracts.signTerms({ ...sign, jws: "" });
  const agreed = await as("model").contracts.getTerms({ kind, termsId: sign.termsId });
  expect(agreed.terms?.missingParties).toEqual([]);
  expect(agreed.terms?.signatures.map(({ partyId }) => partyId).toSorted()).toEqual([
    "internal",
    owner,
  ]);
});

test("its fee is in its log and its statement, which it reads and others may not", async () => {
  nowUs = fromUs + usPerHour;
  const record = usageRecord({ attempt: "a1" as AttemptId, id: "a1:0", openedUs: nowUs });
  const { results } = await as().usage.record({ records: [fromUsageRecord(record)] });
  expect(results.map(({ status }) => status)).toEqual([RecordStatus.POSTED]);
  const { logs, settle } = as("model");
  const { leaves } = await logs.listLeaves({ logId: owner });
  const fees = leaves.filter(({ kind }) => kind === "usage").map(({ text }) => JSON.parse(text));
  expect(fees).toEqual([expect.objectContaining({ type: "fee", record_id: "a1:0" })]);
  const asked = { pairId: owner, period: dayOf(nowUs, "Asia/Shanghai") };
  const { statement } = await settle.closeStatement(asked);
  expect(statement?.canonicalJson).toContain('"book_id":"licence"');
  for (const kind of others) {
    const other = as(kind);
    expect(await codeOf(other.logs.listLeaves({ logId: owner }))).toBe(Code.PermissionDenied);
    expect(await codeOf(other.settle.closeStatement(asked))).toBe(Code.PermissionDenied);
  }
  for (const kind of ["model", "channel"] as const) {
    const query = as(kind).settle.queryUsage({ period: asked.period });
    expect(await codeOf(query)).toBe(Code.PermissionDenied);
    expect(await codeOf(as(kind).logs.listLeaves({ logId: "vendor:northgrid" }))).toBe(
      Code.PermissionDenied,
    );
  }
});
