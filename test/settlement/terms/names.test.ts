import { expect, test } from "vitest";
import { ConnectError } from "@connectrpc/connect";
import { bookText, contractText } from "../../../services/core/settlement/terms/terms-text.ts";
import type { BookId, PairId, VendorId } from "../../../services/core/units.ts";
import { newSigningKey, sha256 } from "../../../services/io/signing.ts";
import { Agreements } from "../../../services/settlement/terms/agreements.ts";
import { reasonOf } from "../../../services/wire/errors.ts";
import {
  contract,
  later,
  listed,
  north,
  started,
  withKey,
  withRegistry,
} from "./terms-fixtures.ts";
import { waitingMax } from "../../../services/settlement/terms/terms.ts";
import { usageRecord } from "../../core/settlement/fixtures.ts";

const evil = "vendor:evil" as PairId;
const second = { ...listed, version: 2n, effectiveFromUs: later };
const others = { ...second, source: "other bytes" };

test("a book that conflicts with a proposal is unknown, and keeps no other book from being used", async () => {
  const { terms, agreed, publish } = await withRegistry("northgrid", listed);
  await agreed.find(listed.id, 1n);
  await terms.propose("price-version", bookText(others), north);
  await publish("northgrid", second);
  const agreements = new Agreements({ buyBooks: agreed });
  const named = [2n, 1n].map((priceVersion) => {
    return usageRecord({ priceBook: listed.id, priceVersion });
  });
  await agreements.learn(named);
  expect(agreed.known(listed.id, 1n)).toEqual(listed);
  expect(await agreed.find(listed.id, 2n)).toBeUndefined();
  await expect(agreed.adoptAll()).resolves.toBeUndefined();
});

test("a name in the registry that is none keeps no book from being used", async () => {
  const { agreed, registry } = await withRegistry("northgrid", listed);
  const odd = { kind: "price-book", key: "odd@x", value: "{}", baseRevision: 0 } as const;
  await registry.set({ ...odd, author: "northgrid", comment: "" });
  await agreed.adoptAll();
  expect(agreed.known(listed.id, 1n)).toEqual(listed);
});

test("what a vendor proposes by another's name keeps nothing from that one", async () => {
  const { terms, agreed } = await withRegistry("northgrid", listed);
  const squat = bookText({ ...listed, vendor: "evil" as VendorId });
  await terms.propose("price-version", squat, evil);
  expect(await agreed.find(listed.id, 1n)).toEqual(listed);
  const signed = { kind: "price-version", id: "northgrid-list@1", hash: sha256(squat) } as const;
  await expect(terms.sign(signed, "internal", "")).rejects.toThrow("not agreed with others");
});

test("a contract by another's name keeps nobody from proposing, signing and starting again", async () => {
  const { terms, store, again } = await started();
  const squat = contractText(contract({ pair: evil, signatures: "credential" }));
  await terms.propose("contract", squat, evil);
  const sign = await withKey(terms);
  const text = contractText(contract());
  const { hash } = await terms.propose("contract", text, "internal");
  const signed = { kind: "contract", id: "northgrid@1", hash } as const;
  await terms.sign(signed, north, sign(text));
  await terms.sign(signed, "internal", "");
  expect(terms.state.contractAt(north, later)).toEqual(contract());
  expect(terms.state.find("contract", "northgrid@1")?.pair).toBe(north);
  const late = { kind: "contract", id: "northgrid@1", hash: sha256(squat) } as const;
  await expect(terms.sign(late, "internal", "")).rejects.toThrow("not agreed with others");
  const read = await again(store);
  expect(read.state.list("contract")).toEqual(terms.state.list("contract"));
});

test("a proposal of one party for its own pair does not say what the contract is called", async () => {
  const { terms } = await started();
  await terms.propose("contract", contractText(contract({ id: "mine" })), north);
  const record = await terms.propose("contract", contractText(contract()), "internal");
  expect(record.id).toBe("northgrid@1");
});

test("a party proposes nothing that is not its own", async () => {
  const { terms } = await started();
  await expect(terms.propose("contract", contractText(contract()), evil)).rejects.toThrow(
    "vendor:evil is no party of contract northgrid@1",
  );
  const stranger = bookText({ ...listed, id: "southgrid-list" as BookId });
  await expect(terms.propose("price-version", stranger, evil)).rejects.toThrow("is no party");
});

test("the name of a key is its party's: another may have the same", async () => {
  const { terms } = await started();
  const [one, two] = [newSigningKey(), newSigningKey()];
  const kid = "vendor:northgrid/1";
  await terms.registerKey({ party: evil, kid, publicKey: one.publicKey, jws: "", by: evil });
  await terms.registerKey({ party: north, kid, publicKey: two.publicKey, jws: "", by: north });
  expect(terms.state.keyOf(evil, kid)).toBe(one.publicKey);
  expect(terms.state.keyOf(north, kid)).toBe(two.publicKey);
});

test("other bytes by a name that the ledger has are a conflict, and not an error of ours", async () => {
  const { terms, store, writer } = await started();
  const document = { kind: "party-key", id: `${north}/1`, pair: north, atUs: 1n, body: "{}" };
  await writer.write(async () => ({ change: { documents: [document] }, result: null }));
  const { publicKey } = newSigningKey();
  const refused = terms
    .registerKey({ party: north, kid: "1", publicKey, jws: "", by: north })
    .catch((error: unknown) => reasonOf(ConnectError.from(error)));
  expect(await refused).toBe("CONFLICT");
  expect(await store.documents({ kind: "party-key" }, { afterSeq: 0n, limit: 9 })).toHaveLength(2);
});

test("a party has no more proposals waiting than there is room for, and the operator still proposes", async () => {
  const { terms } = await started();
  for (let n = 0; n < waitingMax; n++) {
    await terms.propose("contract", contractText(contract({ id: `mine-${n}` })), north);
  }
  const text = contractText(contract());
  await expect(terms.propose("contract", text, north)).rejects.toThrow(
    `expected at most ${waitingMax} proposals of ${north}`,
  );
  expect((await terms.propose("contract", text, "internal")).id).toBe("northgrid@1");
});
