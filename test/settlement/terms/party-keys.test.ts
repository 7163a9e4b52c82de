import { expect, test } from "vitest";
import { contractText } from "../../../services/core/settlement/terms/terms-text.ts";
import { withdrawalPayload } from "../../../services/core/settlement/terms/consent.ts";
import type { Party } from "../../../services/core/settlement/terms/terms-kinds.ts";
import type { PairId } from "../../../services/core/units.ts";
import { newSigningKey } from "../../../services/io/signing.ts";
import { contract, jws, later, north, started } from "./terms-fixtures.ts";

const [first, second, third] = [newSigningKey(), newSigningKey(), newSigningKey()];
const own = { party: north, by: north as Party, jws: "" };

/** `first` and `second` are on file. */
async function withTwoKeys() {
  const opened = await started();
  const { terms } = opened;
  await terms.registerKey({ ...own, kid: "first", publicKey: first.publicKey });
  const proof = jws(first, "first", `second ${second.publicKey}`);
  await terms.registerKey({ ...own, kid: "second", publicKey: second.publicKey, jws: proof });
  return opened;
}

const kids = ({ state }: Awaited<ReturnType<typeof withTwoKeys>>["terms"]) =>
  state.keysOf(north).map(({ kid }) => kid);

test("a further key is put on file by one of before, and by nobody else", async () => {
  const { terms } = await withTwoKeys();
  const { publicKey } = third;
  for (const by of [north, "internal"] as const) {
    const key = { ...own, by, kid: "third", publicKey };
    await expect(terms.registerKey(key)).rejects.toThrow("jws: expected header");
    const itself = jws(third, "third", `third ${publicKey}`);
    await expect(terms.registerKey({ ...key, jws: itself })).rejects.toThrow("no key");
  }
  expect(kids(terms)).toEqual(["first", "second"]);
});

test("the operator puts no first key on file for whoever has a credential", async () => {
  const { terms } = await started();
  const key = { kid: "first", publicKey: first.publicKey, jws: "", by: "internal" as const };
  for (const party of [north, "tenant:acme" as PairId]) {
    await expect(terms.registerKey({ ...key, party })).rejects.toThrow(
      `expected the first key of ${party} with its own credential`,
    );
  }
  const owner = "model:qwen" as PairId;
  await terms.registerKey({ ...key, party: owner });
  await expect(
    terms.registerKey({ ...key, party: owner, kid: "second", publicKey: second.publicKey }),
  ).rejects.toThrow("jws: ");
});

test("the operator has no further key without the word of the one before", async () => {
  const { terms } = await started();
  const key = { ...own, party: "internal", by: "internal", kid: "op/2" } as const;
  await expect(terms.registerKey({ ...key, publicKey: first.publicKey })).rejects.toThrow("jws: ");
});

test("every key, and that it is withdrawn, is a leaf in its party's log", async () => {
  const { terms, store } = await withTwoKeys();
  const proof = jws(second, "second", withdrawalPayload("first", first.publicKey));
  await terms.withdrawKey({ party: north, kid: "first", jws: proof });
  const leaves = await store.leaves(north, 0n, 9);
  expect(leaves.map(({ kind, ref }) => [kind, ref])).toEqual([
    ["key", `party-key:${north}/first`],
    ["key", `party-key:${north}/second`],
    ["key", `party-key-withdrawal:${north}/first`],
  ]);
  expect(leaves[1]?.text).toContain(`"by":"${north}"`);
});

test("what a key signs after it was withdrawn does not count; what it signed before stays", async () => {
  const { terms, store, again } = await withTwoKeys();
  const text = contractText(contract());
  const { id, hash } = await terms.propose("contract", text, "internal");
  const signed = { kind: "contract", id, hash } as const;
  await terms.sign(signed, north, jws(first, "first", text));
  await terms.sign(signed, "internal", "");
  const proof = jws(second, "second", withdrawalPayload("first", first.publicKey));
  await terms.withdrawKey({ party: north, kid: "first", jws: proof });
  await terms.withdrawKey({ party: north, kid: "first", jws: proof });
  expect(kids(terms)).toEqual(["second"]);
  const next = contractText(contract({ version: 2n, effectiveFromUs: later + 5n }));
  const proposed = await terms.propose("contract", next, "internal");
  const named = { kind: "contract", id: proposed.id, hash: proposed.hash } as const;
  await expect(terms.sign(named, north, jws(first, "first", next))).rejects.toThrow("no key");
  const back = { ...own, kid: "first", publicKey: first.publicKey, jws: proof };
  await expect(terms.registerKey(back)).rejects.toThrow("expected a name that no key has");
  const read = await again(store);
  expect(kids(read)).toEqual(["second"]);
  expect(read.state.contractAt(north, later)).toEqual(contract());
});

test("a key is withdrawn by one on file alone, and the last one stays", async () => {
  const { terms } = await withTwoKeys();
  const key = { party: north, kid: "first" };
  await expect(terms.withdrawKey({ ...key, jws: "" })).rejects.toThrow("jws: ");
  const stranger = jws(third, "first", withdrawalPayload("first", first.publicKey));
  await expect(terms.withdrawKey({ ...key, jws: stranger })).rejects.toThrow("wrong");
  const itself = jws(first, "first", withdrawalPayload("first", first.publicKey));
  await terms.withdrawKey({ ...key, jws: itself });
  const last = jws(second, "second", withdrawalPayload("second", second.publicKey));
  await expect(terms.withdrawKey({ ...key, kid: "second", jws: last })).rejects.toThrow(
    "expected another key on file first",
  );
  await expect(terms.withdrawKey({ ...key, kid: "none", jws: last })).rejects.toThrow("has no key");
});
