import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatKey } from "../../../../services/core/settlement/proof/note.ts";
import { hasQuorum, parsePolicy } from "../../../../services/core/settlement/proof/tlog-policy.ts";
import {
  formatTlogProof,
  parseTlogProof,
  verifyTlogProof,
  type TlogProof,
} from "../../../../services/core/settlement/proof/tlog-proof.ts";
import { sha256 } from "../../../../services/io/signing.ts";
import { means, testLog, testWitness } from "../proof-fixtures.ts";
import { tlogProofs } from "../vectors/notes.ts";

const origin = "grid.example/tokengrid/vendor/northgrid";
const texts = Array.from({ length: 40 }, (_each, index) => `{"type":"usage","n":"${index}"}`);
const log = testLog(origin, texts);
const vendor = testWitness("northgrid.example/witness");
const third = testWitness("third.example/w1");
const policy = policyFrom(
  `log ${formatKey(log.key)}\nwitness v ${formatKey(vendor.key)}\nquorum v\n`,
);

describe("tlog-proof", () => {
  for (const { index, hashed, extra, text, checkpoint } of tlogProofs) {
    test(`writes and reads the published proof of index ${index}`, () => {
      const path = hashed.map((each) => sha256(each));
      const more = extra === undefined ? {} : { extra: Uint8Array.from(Buffer.from(extra)) };
      const proof: TlogProof = { index, path, checkpoint, ...more };
      expect(formatTlogProof(proof)).toBe(text);
      expect(parseTlogProof(text)).toEqual(proof);
    });
  }

  const good = proofOf(5, 40);
  const refused: Readonly<Record<string, string>> = {
    nothing: "",
    "another header": good.replace("@v1", "@v2"),
    "no index": good.replace(/index 5\n/, ""),
    "an index that is none": good.replace("index 5", "index five"),
    "an index below zero": good.replace("index 5", "index -5"),
    "an index with a zero before it": good.replace("index 5", "index 05"),
    "extra that is no base64": good.replace("index 5", "extra !!\nindex 5"),
    "extra behind the index": good.replace("index 5", "index 5\nextra AAAA"),
    "a hash that is short": good.replace(/index 5\n[^\n]+/, "index 5\nAAAA"),
    "a hash that is none": good.replace(/index 5\n[^\n]+/, "index 5\n!!notbase64!!"),
    "64 hashes": good.replace(
      "index 5\n",
      `index 5\n${`${Buffer.alloc(32).toString("base64")}\n`.repeat(64)}`,
    ),
    "no empty line": good.replaceAll("\n\n", "\n"),
  };
  for (const [what, text] of Object.entries(refused)) {
    test(`parseTlogProof() refuses ${what}, and says so`, () => {
      expect(parseTlogProof(text)).toContain("expected");
    });
  }

  test("every leaf of every size verifies", () => {
    fc.assert(
      fc.property(place, ({ index, size }) => {
        expect(checked(proofOf(index, size), texts[index] ?? "")).toMatchObject({
          index: BigInt(index),
          checkpoint: { origin, size: BigInt(size) },
          signers: [{ key: log.key }, { key: vendor.key, timeSeconds: 1_700_000_000n }],
        });
      }),
    );
  });

  test("one changed character anywhere in leaf or proof fails (I23)", () => {
    fc.assert(
      fc.property(place, fc.nat(), fc.nat(6), ({ index, size }, which, bit) => {
        const [proof, leaf] = [Buffer.from(proofOf(index, size)), Buffer.from(texts[index] ?? "")];
        const at = which % (proof.length + leaf.length);
        const part = at < proof.length ? proof : leaf;
        const within = at < proof.length ? at : at - proof.length;
        part[within] = (part[within] ?? 0) ^ (1 << bit);
        expect(typeof checked(proof.toString(), leaf.toString())).toBe("string");
      }),
      { numRuns: 2_000 },
    );
  });

  test("a record that was never logged fails, whatever extra says", () => {
    const proof = good.replace("index 5", "extra AAAA\nindex 5");
    expect(checked(proof, texts[5] ?? "")).toMatchObject({ index: 5n });
    expect(checked(proof, "other")).toContain("is not at index 5");
  });

  test("another log's proof fails, though its checkpoint is as good", () => {
    const other = testLog("grid.example/tokengrid/vendor/southgrid", texts);
    const proof = formatTlogProof({
      index: 5n,
      path: other.inclusion(5, 40),
      checkpoint: vendor.cosigned(other.checkpoint(40)),
    });
    expect(checked(proof, texts[5] ?? "")).toContain("no key is given for the log");
  });

  test("a checkpoint that only the witness signed fails", () => {
    const lines = good.split("\n");
    const without = lines.filter((line) => !line.startsWith(`— ${origin}`)).join("\n");
    expect(checked(without, texts[5] ?? "")).toContain("expected a signature of the log");
  });

  test("a checkpoint without the witness's signature fails", () => {
    const proof = formatTlogProof({
      index: 5n,
      path: log.inclusion(5, 40),
      checkpoint: log.checkpoint(40),
    });
    expect(checked(proof, texts[5] ?? "")).toContain("expected signatures of the witnesses");
  });
});

describe("tlog-policy", () => {
  const keys = {
    log: formatKey(log.key),
    vendor: formatKey(vendor.key),
    third: formatKey(third.key),
  };

  test("a group is met by as many as it asks for", () => {
    const text = `log ${keys.log}\nwitness v ${keys.vendor}\nwitness t ${keys.third} https://t.example/\n`;
    const [v, t] = [vendor.key, third.key];
    const cases: readonly (readonly [rules: string, one: boolean, both: boolean])[] = [
      ["group g any v t\nquorum g", true, true],
      ["group g 1 v t\nquorum g", true, true],
      ["group g 2 v t # both\nquorum g", false, true],
      ["group g all v t\ngroup h any g v\nquorum h", true, true],
      ["group g all v t\nquorum g", false, true],
      ["quorum t", false, true],
      ["quorum none", true, true],
      // Where nothing is said, all are asked for.
      ["", false, true],
    ];
    for (const [rules, one, both] of cases) {
      const parsed = parsePolicy(text + rules, sha256);
      const found = typeof parsed === "string" ? parsed : { signers: parsed.witnesses, parsed };
      expect(found).toMatchObject({ signers: [v, t] });
      const met = (signers: readonly (typeof v)[]) =>
        typeof parsed === "string"
          ? parsed
          : hasQuorum(
              parsed,
              new Set(parsed.witnesses.filter((key) => signers.some(({ id }) => id === key.id))),
            );
      expect([rules, met([v]), met([v, t]), met([])]).toEqual([
        rules,
        one,
        both,
        rules === "quorum none",
      ]);
    }
  });

  test("keys alone on their lines are a policy too", () => {
    const parsed = policyFrom(`# keys of northgrid\n${keys.log}\n\n${keys.vendor}\n`);
    expect(parsed.logs).toEqual([log.key]);
    expect(parsed.witnesses).toEqual([vendor.key]);
    expect(hasQuorum(parsed, new Set(parsed.logs))).toBe(false);
    expect(hasQuorum(parsed, new Set(parsed.witnesses))).toBe(true);
  });

  const refused: Readonly<Record<string, string>> = {
    "no log": `witness v ${keys.vendor}\n`,
    "a key that is none": "log grid.example\n",
    "a quorum of nobody": `log ${keys.log}\nquorum x\n`,
    "two quorums": `log ${keys.log}\nquorum none\nquorum none\n`,
    "a group of a stranger": `log ${keys.log}\ngroup g any x\n`,
    "a group of more than its members": `log ${keys.log}\nwitness v ${keys.vendor}\ngroup g 2 v\n`,
    "a name twice": `log ${keys.log}\nwitness v ${keys.vendor}\ngroup v any v\n`,
    "a witness under two names": `log ${keys.log}\nwitness v ${keys.vendor}\nwitness w ${keys.vendor}\n`,
    "a log as witness": `log ${keys.log}\nwitness v ${keys.log}\n`,
    "a witness as log": `log ${keys.vendor}\n`,
    "a witness twice": `log ${keys.log}\nwitness v ${keys.vendor}\nwitness v ${keys.third}\n`,
  };
  for (const [what, text] of Object.entries(refused)) {
    test(`parsePolicy() refuses ${what}, and says so`, () => {
      expect(parsePolicy(text, sha256)).toMatch(/expected|nobody/);
    });
  }
});

const place = fc
  .integer({ min: 1, max: 40 })
  .chain((size) => fc.record({ size: fc.constant(size), index: fc.nat(size - 1) }));

function proofOf(index: number, size: number): string {
  const checkpoint = vendor.cosigned(log.checkpoint(size));
  return formatTlogProof({ index: BigInt(index), path: log.inclusion(index, size), checkpoint });
}

function checked(text: string, leaf: string) {
  const proof = parseTlogProof(text);
  return typeof proof === "string" ? proof : verifyTlogProof({ proof, leaf, policy }, means);
}

function policyFrom(text: string) {
  const parsed = parsePolicy(text, sha256);
  if (typeof parsed === "string") throw new Error(parsed);
  return parsed;
}
