import { describe, expect, test } from "vitest";
import { checkProof, provenJson } from "../../services/cli/ledger/proof-check.ts";
import { logStateTable } from "../../services/cli/ledger/log-state-text.ts";
import { formatKey } from "../../services/core/settlement/proof/note.ts";
import { formatTlogProof } from "../../services/core/settlement/proof/tlog-proof.ts";
import { create } from "@bufbuild/protobuf";
import { LogStateSchema } from "../../services/wire/gen/tokengrid/v1/log_pb.js";
import { testLog, testWitness } from "../core/settlement/proof-fixtures.ts";

const record = '{"record_id":"a7:0"}';
const texts = Array.from({ length: 12 }, (_each, at) => `{"record_id":"a${at}:0"}`);
const log = testLog("grid.example/tokengrid/vendor/northgrid", texts);
const vendor = testWitness("northgrid.example/witness");
const proof = formatTlogProof({
  index: 7n,
  path: log.inclusion(7, 12),
  checkpoint: vendor.cosigned(log.checkpoint(12)),
});
const keys = `log ${formatKey(log.key)}\nwitness v ${formatKey(vendor.key)}\nquorum v\n`;

describe("ledger verify-proof", () => {
  test("says what was proven and who signed", () => {
    const proven = checkProof({ record, proof, keys });
    expect(typeof proven === "string" ? proven : provenJson(proven)).toMatchObject({
      verdict: "proven",
      origin: "grid.example/tokengrid/vendor/northgrid",
      index: "7",
      size: "12",
      signers: [
        { name: "grid.example/tokengrid/vendor/northgrid" },
        { name: "northgrid.example/witness", time_seconds: "1700000000" },
      ],
    });
  });

  test("a line feed that an editor put behind the record changes nothing; another character does", () => {
    expect(checkProof({ record: `${record}\n`, proof, keys })).toMatchObject({ index: 7n });
    expect(checkProof({ record: `${record} `, proof, keys })).toContain("is not at index 7");
    expect(checkProof({ record: `${record}\n\n`, proof, keys })).toContain("is not at index 7");
  });

  test("keys that are none are a mistake of the caller, not a proof that fails", () => {
    expect(() => checkProof({ record, proof, keys: "hello" })).toThrow("--keys");
  });
});

test("ledger logs tells what waits for a witness, and why nothing is signed", () => {
  const logs = [
    create(LogStateSchema, {
      logId: "vendor:northgrid",
      size: 12_345n,
      signedSize: 12_000n,
      witnessedSize: 11_000n,
      unwitnessedSinceUs: 1_000_000n,
    }),
    create(LogStateSchema, {
      logId: "vendor:southgrid",
      size: 9n,
      signedSize: 9n,
      refusal: "a witness has seen 10 leaves, the log has 9",
    }),
  ];
  expect(logStateTable(logs, 91_000, false)).toBe(
    [
      "LOG               LEAVES  SIGNED  WITNESSED  UNWITNESSED FOR",
      "vendor:northgrid  12,345  12,000     11,000          1.5 min",
      "vendor:southgrid       9       9          0                -  not signed: a witness has seen 10 leaves, the log has 9",
      "",
    ].join("\n"),
  );
});
