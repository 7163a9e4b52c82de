import { describe, expect, test } from "vitest";
import { signCheckpoint } from "../../../../services/core/settlement/proof/checkpoint.ts";
import {
  cloudEventText,
  cloudEventTypes,
} from "../../../../services/core/settlement/statements/cloud-event.ts";
import { signDetached } from "../../../../services/core/settlement/proof/jws.ts";
import { Frontier, rootOf, treeHash } from "../../../../services/core/settlement/proof/merkle.ts";
import { noteKey } from "../../../../services/core/settlement/proof/note.ts";
import { statementPage } from "../../../../services/core/settlement/statements/page.ts";
import {
  checkStatement,
  LeafCheck,
  statementJwsType,
  type Evidence,
  type PartyPublicKey,
  type Trust,
} from "../../../../services/core/settlement/statements/statement-check.ts";
import { statementLeafText } from "../../../../services/core/settlement/statements/statement-leaves.ts";
import type { Statement } from "../../../../services/core/settlement/statements/statement.ts";
import type { PairId } from "../../../../services/core/units.ts";
import { formatTlogProof } from "../../../../services/core/settlement/proof/tlog-proof.ts";
import { newSigningKey, sha256, verify } from "../../../../services/io/signing.ts";
import { friday } from "../fixtures.ts";
import { booksOf, frozen, northgrid, statement } from "../statement-fixtures.ts";

const tree = treeHash(sha256);
const means = { sha256, verify, tree };
const operator = newSigningKey();
const logKey = newSigningKey();
const origin = "grid.example/tokengrid/vendor/northgrid";
const key = noteKey({ name: origin, type: "signature", publicKey: logKey.publicKey }, sha256);

const leaves = booksOf()
  .leaves.filter(({ log }) => log === northgrid)
  .map(({ text }) => text);
const root = rootOf(
  leaves.map((text) => tree.leaf(text)),
  tree,
);
const log = { origin, size: 3n, root, firstIndex: 0n, endIndex: 3n };
const made = statement({ frozen: frozen({ log }), prevDigest: sha256("before") });

const north = newSigningKey();
const partyKeys: Readonly<Record<string, PartyPublicKey>> = {
  grid: { party: "operator", publicKey: operator.publicKey },
  north: { party: northgrid, publicKey: north.publicKey },
  south: { party: "vendor:southgrid" as PairId, publicKey: north.publicKey },
};
const trust: Trust = {
  keyOf: (kid) => partyKeys[kid],
  policy: { logs: [key], witnesses: [], groupByName: new Map(), quorum: undefined },
};
const nothing: Evidence = {
  ...{ signatures: [], previous: undefined, checkpoint: undefined, proof: undefined },
};
const jws = signDetached(made.text, { kid: "grid", typ: statementJwsType }, (text) =>
  operator.sign(text),
);
const checkpoint = signCheckpoint({ origin, size: 3n, root, extensions: [] }, key, (text) =>
  logKey.sign(text),
);

/** The log with the statement's own leaf behind the others. */
const proof = (() => {
  const all = [...leaves, statementLeafText(made)].map((text) => tree.leaf(text));
  const note = { origin, size: 4n, root: rootOf(all, tree), extensions: [] };
  return formatTlogProof({
    index: 3n,
    path: [all[2] ?? "", rootOf(all.slice(0, 2), tree)],
    checkpoint: signCheckpoint(note, key, (text) => logKey.sign(text)),
  });
})();

function found(text: string, evidence: Partial<Evidence> = {}, believed: Trust = trust): string[] {
  const { checks } = checkStatement(text, { ...nothing, ...evidence }, { trust: believed, means });
  return checks.map(({ name, isGood }) => `${name} ${isGood ? "good" : "bad"}`);
}

describe("checkStatement()", () => {
  test("finds nothing wrong with a whole one", () => {
    const evidence = { signatures: [jws], previous: "before", checkpoint, proof };
    expect(found(made.text, evidence)).toEqual([
      ...[
        "bytes good",
        "sums good",
        "signature good",
        "chain good",
        "checkpoint good",
        "proof good",
      ],
    ]);
  });

  const signedBy = (kid: string): string =>
    signDetached(made.text, { kid, typ: statementJwsType }, (text) => north.sign(text));

  // prettier-ignore
  const believed: readonly [what: string, evidence: Partial<Evidence>, isStated: boolean, isRootSigned: boolean][] = [
    ["nothing at all",                  {},                                           false, false],
    ["the vendor's own signature",      { signatures: [signedBy("north")] },          false, false],
    ["a signature of another vendor",   { signatures: [signedBy("south")] },          false, false],
    ["a checkpoint",                    { checkpoint },                               false, true],
    ["the operator's signature",        { signatures: [jws] },                        true,  true],
    ["a proof of the operator's log",   { proof },                                    true,  true],
  ];
  for (const [what, evidence, isStated, isRootSigned] of believed) {
    test(`takes it for the operator's word, or not, by ${what}`, () => {
      const checked = checkStatement(made.text, { ...nothing, ...evidence }, { trust, means });
      const names = checked.checks.filter(({ isGood }) => !isGood).map(({ name }) => name);
      expect([!names.includes("operator"), checked.isRootSigned]).toEqual([isStated, isRootSigned]);
    });
  }

  test("says whose key has signed, and refuses that of another vendor", () => {
    expect(found(made.text, { signatures: [jws, signedBy("north")] })).not.toContain(
      "signature bad",
    );
    expect(found(made.text, { signatures: [jws, signedBy("south")] })).toContain("signature bad");
  });

  test("says what it has not checked", () => {
    const none = checkStatement(made.text, nothing, { trust, means });
    expect(none.unchecked).toEqual(["counterparty", "chain", "checkpoint", "proof"]);
    const evidence = {
      signatures: [jws, signedBy("north")],
      previous: "before",
      checkpoint,
      proof,
    };
    expect(checkStatement(made.text, evidence, { trust, means }).unchecked).toEqual([]);
  });

  // prettier-ignore
  const flipped: readonly [what: string, change: (text: string) => string, check: string][] = [
    ["a space",               (text) => text.replace('":"', '": "'),                                     "bytes bad"],
    ["no JSON",               (text) => text.slice(1),                                                   "bytes bad"],
    ["an amount of a line",   (text) => text.replace('"nano":"8010"', '"nano":"8011"'),                  "sums bad"],
    ["tokens of a line",      (text) => text.replace('"tokens":"40"', '"tokens":"41"'),                  "sums bad"],
    ["the net",               (text) => text.replace(/"net_nano":"(\d+)"/, '"net_nano":"9$1"'),          "sums bad"],
    ["the fen",               (text) => text.replace(/"minor_units":"\d+"/, '"minor_units":"77"'),       "sums bad"],
    ["zero usage",            (text) => text.replace('"zero_usage":false', '"zero_usage":true'),         "sums bad"],
    ["lines in another order",(text) => reordered(text),                                                 "sums bad"],
  ];
  for (const [what, change, check] of flipped) {
    test(`finds ${what}`, () => {
      const text = change(made.text);
      expect(text).not.toBe(made.text);
      expect(found(text)).toContain(check);
    });
  }

  // prettier-ignore
  const wrong: readonly [what: string, evidence: Partial<Evidence>, check: string, believed?: Trust][] = [
    ["a signature of other bytes",  { signatures: [signDetached("{}", { kid: "grid", typ: statementJwsType }, (text) => operator.sign(text))] }, "signature bad"],
    ["a signature of a stranger",   { signatures: [jws] },                "signature bad", { ...trust, keyOf: () => undefined }],
    ["another statement before",    { previous: "other" },                "chain bad"],
    ["a checkpoint of another tree",{ checkpoint: signCheckpoint({ origin, size: 3n, root: sha256(""), extensions: [] }, key, (text) => logKey.sign(text)) }, "checkpoint bad"],
    ["a checkpoint nobody signed",  { checkpoint: signCheckpoint({ origin, size: 3n, root, extensions: [] }, key, (text) => operator.sign(text)) }, "checkpoint bad"],
    ["a proof of another leaf",     { proof: proof.replace("index 3", "index 2") }, "proof bad"],
    ["no key of the log",           { checkpoint, proof },                "proof bad",     { ...trust, policy: undefined }],
  ];
  for (const [what, evidence, check, believed] of wrong) {
    test(`finds ${what}`, () => {
      expect(found(made.text, evidence, believed)).toContain(check);
    });
  }
});

describe("LeafCheck", () => {
  function checked(
    of: Statement,
    texts: readonly string[],
    roots: readonly string[] = [],
    isRootSigned = true,
  ): string[] {
    const check = new LeafCheck({ statement: of, isRootSigned }, roots, tree);
    for (const text of texts) check.add(text);
    return check.checks.map(({ name, isGood }) => `${name} ${isGood ? "good" : "bad"}`);
  }

  test("makes the root and every line of the leaves again", () => {
    expect(checked(made, leaves)).toEqual(["root good", "leaves good"]);
  });

  test("finds a root that nobody has signed", () => {
    expect(checked(made, leaves, [], false)).toContain("root bad");
  });

  test("starts behind what stands before the range", () => {
    const before = ["x", "y"].map((text) => tree.leaf(text));
    const frontier = new Frontier(tree);
    for (const hash of [...before, ...leaves.map((text) => tree.leaf(text))]) frontier.append(hash);
    const moved = { ...log, size: 5n, root: frontier.root(), firstIndex: 2n, endIndex: 5n };
    const later = statement({ frozen: frozen({ log: moved }) });
    expect(checked(later, leaves, [rootOf(before, tree)])).toEqual(["root good", "leaves good"]);
    expect(checked(later, leaves, [sha256("z")])).toEqual(["root bad", "leaves good"]);
  });

  test("finds a leaf that is missing, twice, or changed", () => {
    const changed = leaves.map((text) => text.replace('"nano":"8010"', '"nano":"8011"'));
    for (const texts of [leaves.slice(1), [...leaves, leaves[0] ?? ""], changed]) {
      expect(checked(made, texts)).toEqual(expect.arrayContaining(["root bad", "leaves bad"]));
    }
  });
});

test("a page is golden, has no script and nothing from elsewhere, and escapes names", async () => {
  const parties = { operator: "Grid <Operator> & Co", counterparty: "北方算力" };
  const page = statementPage(made, parties, [{ party: "operator", kid: "grid", jws: "a..b" }]);
  await expect(page).toMatchFileSnapshot("../../../golden/statement.html");
  expect(page).not.toMatch(/<script|<link|<img|@import|url\(|https?:/);
  expect(page).toContain("Grid &lt;Operator&gt; &amp; Co");
  const interim = statementPage(statement({ kind: "interim", isPayable: false }, []), parties, []);
  expect(interim).toContain("not closed");
  expect(interim).toContain("No usage in this period");
});

test("a CloudEvent has what the specification asks for, and the data byte for byte", () => {
  const type = "io.tokengrid.statement.v1";
  const event = {
    id: made.id,
    source: `//${origin}`,
    type,
    subject: made.id,
    atUs: friday + 7n,
    data: made.text,
  } as const;
  const line = cloudEventText(event);
  expect(line.endsWith(`,"data":${made.text}}`)).toBe(true);
  expect(JSON.parse(line)).toEqual({
    ...{ specversion: "1.0", id: made.id, source: `//${origin}`, type, subject: made.id },
    ...{ time: "2026-11-20T06:00:00.000007Z", datacontenttype: "application/json" },
    ...{ dataschema: cloudEventTypes[type], data: JSON.parse(made.text) },
  });
});

function reordered(text: string): string {
  const [first = "", second = ""] = [...text.matchAll(/\{"attempts":"1","book_id"[^}]*\}/g)].map(
    ([each]) => each,
  );
  return text.replace(`${first},${second}`, `${second},${first}`);
}
