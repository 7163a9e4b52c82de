import { createClient, createRouterTransport } from "@connectrpc/connect";
import { expect, test } from "vitest";
import type { Contract } from "../../../services/core/settlement/terms/contract.ts";
import {
  everyTenant,
  type PriceBook,
} from "../../../services/core/settlement/pricing/price-book.ts";
import { bookText, contractText } from "../../../services/core/settlement/terms/terms-text.ts";
import type { BookId, PairId, VendorId } from "../../../services/core/units.ts";
import { identityKey, type Identity } from "../../../services/io/grpc-identity.ts";
import { loadCalendar } from "../../../services/io/preset.ts";
import { newSigningKey, sha256 } from "../../../services/io/signing.ts";
import { feed } from "../../../services/settlement/terms/agreed-books.ts";
import { Agreements } from "../../../services/settlement/terms/agreements.ts";
import { serveTerms } from "../../../services/settlement/terms/terms-rpc.ts";
import { ContractService, TermsKind } from "../../../services/wire/gen/tokengrid/v1/contract_pb.js";
import { priceBook, priceLine } from "../../core/settlement/fixtures.ts";

import {
  contract,
  jws,
  later,
  listed,
  north,
  now,
  openTerms,
  started,
  withKey,
  withRegistry,
} from "./terms-fixtures.ts";

test("a contract is in force from its start on, once both have signed, and not a moment before", async () => {
  const { terms, heard, store } = await started();
  const sign = await withKey(terms);
  const text = contractText(contract());
  const proposed = await terms.propose("contract", text, "internal");
  const signed = { kind: "contract", id: "northgrid@1", hash: sha256(text) } as const;
  expect(terms.state.missing(proposed)).toEqual(["internal", north]);
  const half = await terms.sign(signed, north, sign(text));
  expect(terms.state.missing(half)).toEqual(["internal"]);
  expect(terms.state.contractAt(north, later)).toBeUndefined();
  expect(heard).toEqual([]);
  const whole = await terms.sign(signed, "internal", "");
  expect(whole.agreedUs).toBe(now);
  expect(heard).toEqual(["northgrid@1"]);
  expect(terms.state.contractAt(north, later)).toEqual(contract());
  expect(terms.state.contractAt(north, later - 1n)).toBeUndefined();
  const leaves = await store.leaves(north, 1n, 9);
  expect(leaves.map(({ kind, ref, text: bytes }) => [kind, ref, bytes])).toEqual([
    ["contract", "contract:northgrid@1", text],
  ]);
});

test("another process reads the same terms from the ledger's documents", async () => {
  const { terms, store } = await started();
  const sign = await withKey(terms);
  const text = contractText(contract());
  await terms.propose("contract", text, north);
  const signed = { kind: "contract", id: "northgrid@1", hash: sha256(text) } as const;
  await terms.sign(signed, north, sign(text));
  await terms.sign(signed, "internal", "");
  const again = await openTerms(store);
  await again.start();
  expect(again.terms.state.list("contract")).toEqual(terms.state.list("contract"));
  expect(again.heard).toEqual(["northgrid@1"]);
  expect(again.terms.state.keysOf("internal")).toEqual(terms.state.keysOf("internal"));
});

test("the same proposal and the same signature again change nothing (I11)", async () => {
  const { terms, store } = await started();
  const sign = await withKey(terms);
  const text = contractText(contract());
  const signed = { kind: "contract", id: "northgrid@1", hash: sha256(text) } as const;
  await terms.propose("contract", text, "internal");
  await terms.sign(signed, north, sign(text));
  const before = await store.documents({}, { afterSeq: 0n, limit: 99 });
  await terms.propose("contract", text, "internal");
  await terms.sign(signed, north, sign(text));
  expect(await store.documents({}, { afterSeq: 0n, limit: 99 })).toEqual(before);
});

test("a contract that requires signatures is not agreed to by a credential, one that does not is", async () => {
  const { terms } = await started();
  const strict = await terms.propose("contract", contractText(contract()), north);
  expect(terms.state.missing(strict)).toEqual(["internal", north]);
  const south = "vendor:south" as PairId;
  const soft = contract({ id: "south", pair: south, signatures: "credential" });
  const record = await terms.propose("contract", contractText(soft), south);
  expect(terms.state.missing(record)).toEqual(["internal"]);
});

test("other bytes of a version that is there are refused (I12)", async () => {
  const { terms } = await started();
  await terms.propose("contract", contractText(contract()), "internal");
  const other = contractText(contract({ openDays: 44 }));
  await expect(terms.propose("contract", other, "internal")).rejects.toThrow(
    "version: northgrid@1 exists",
  );
});

const refusals: Record<string, { readonly change: Partial<Contract>; readonly place: string }> = {
  "a quorum without keys": { change: { quorum: 1 }, place: "quorum: expected at most 0" },
  "a version left out": { change: { version: 3n }, place: "version: expected 1, found 3" },
  "an end before its start": {
    change: { effectiveToUs: later },
    place: "effective_to_us: expected after",
  },
  "a discount of everything": {
    change: { discountPpm: 1_000_000n },
    place: "discount_ppm: expected less",
  },
  "a party that is none": {
    change: { pair: "vendor:*" as PairId },
    place: "pair_id: expected one party",
  },
};

for (const [what, { change, place }] of Object.entries(refusals)) {
  test(`propose() refuses ${what}, and says where`, async () => {
    const { terms } = await started();
    const text = contractText(contract(change));
    await expect(terms.propose("contract", text, "internal")).rejects.toThrow(place);
    expect(terms.state.list("contract")).toEqual([]);
  });
}

test("propose() refuses bytes that are not canonical, and names what it does not know", async () => {
  const { terms } = await started();
  const text = contractText(contract());
  await expect(terms.propose("contract", `${text} `, "internal")).rejects.toThrow("canonical text");
  const odd = text.replace('"ack_days"', '"ack_dayz"');
  await expect(terms.propose("contract", odd, "internal")).rejects.toThrow(
    "ack_dayz: unknown key ack_dayz; did you mean ack_days?",
  );
});

test("a signature over other bytes, of another key or of another type does not count", async () => {
  const { terms } = await started();
  await withKey(terms);
  const text = contractText(contract());
  await terms.propose("contract", text, "internal");
  const signed = { kind: "contract", id: "northgrid@1", hash: sha256(text) } as const;
  const stranger = newSigningKey();
  await expect(terms.sign(signed, north, jws(stranger, `${north}/1`, text))).rejects.toThrow(
    "found one that is wrong",
  );
  await expect(terms.sign(signed, north, jws(stranger, "unknown", text))).rejects.toThrow("no key");
  const others = { ...signed, hash: sha256("other") };
  await expect(terms.sign(others, north, "")).rejects.toThrow(`hash: expected ${signed.hash}`);
  await expect(terms.sign(signed, north, "")).rejects.toThrow("whose key is on file");
  await expect(terms.sign(signed, "vendor:south" as PairId, "")).rejects.toThrow("is no party");
});

test("the last signature after the start of a contract is refused: it would reach into the past", async () => {
  const clock = { us: now };
  const { terms } = await started(() => clock.us);
  const sign = await withKey(terms);
  const text = contractText(contract());
  await terms.propose("contract", text, "internal");
  const signed = { kind: "contract", id: "northgrid@1", hash: sha256(text) } as const;
  await terms.sign(signed, north, sign(text));
  clock.us = later + 1n;
  await expect(terms.sign(signed, "internal", "")).rejects.toThrow(
    `effective_from_us: retroactive: expected the last signature by ${later}`,
  );
  expect(terms.state.contractAt(north, later + 1n)).toBeUndefined();
});

test("a version that was proposed and never agreed does not keep the next from following", async () => {
  const { terms } = await started();
  const sign = await withKey(terms);
  const agree = async (each: Contract): Promise<void> => {
    const text = contractText(each);
    const { id, hash } = await terms.propose("contract", text, "internal");
    await terms.sign({ kind: "contract", id, hash }, north, sign(text));
    await terms.sign({ kind: "contract", id, hash }, "internal", "");
  };
  await agree(contract());
  await terms.propose(
    "contract",
    contractText(contract({ version: 2n, effectiveFromUs: later + 5n })),
    "internal",
  );
  const third = contract({ version: 3n, effectiveFromUs: later + 7n, ackDays: 9 });
  await agree(third);
  expect(terms.state.contractAt(north, later + 6n)?.version).toBe(1n);
  expect(terms.state.contractAt(north, later + 7n)).toEqual(third);
});

test("what a vendor without a key publishes with its credential it has agreed to; the operator countersigns", async () => {
  const { terms, agreed } = await withRegistry("northgrid", listed);
  expect(await agreed.find(listed.id, 1n)).toEqual(listed);
  const [record] = terms.state.list("price-version");
  expect(record?.consents.map(({ party, way }) => [party, way])).toEqual([
    ["internal", "signature"],
    [north, "credential"],
  ]);
});

test("what somebody else publishes in a vendor's name is not used before the vendor has signed it", async () => {
  const { terms, agreed } = await withRegistry("operator", listed);
  expect(await agreed.find(listed.id, 1n)).toBeUndefined();
  const sign = await withKey(terms);
  const text = bookText(listed);
  await terms.sign(
    { kind: "price-version", id: "northgrid-list@1", hash: sha256(text) },
    north,
    sign(text),
  );
  expect(agreed.known(listed.id, 1n)).toEqual(listed);
});

test("a vendor with a key on file has to sign what it publishes", async () => {
  const { terms, agreed } = await withRegistry("northgrid", listed);
  await withKey(terms);
  expect(await agreed.find(listed.id, 1n)).toBeUndefined();
  expect(terms.waiting.map(({ id }) => id)).toEqual(["northgrid-list@1"]);
});

const retail: PriceBook = priceBook({
  id: "retail" as BookId,
  side: "sell",
  vendor: "" as VendorId,
  pair: everyTenant,
  calendar: loadCalendar(),
  lines: listed.lines.map((line) => ({ ...line, scope: "contract" as const })),
});

test("what is agreed is what records are posted by", async () => {
  const { terms } = await started();
  const agreements = new Agreements({
    buyBooks: { known: () => undefined, find: () => Promise.resolve(undefined) },
  });
  const released: string[] = [];
  feed(terms, agreements, () => released.push("again"));
  const { id, hash } = await terms.propose("price-version", bookText(retail), "internal");
  expect(agreements.bookInForce(retail.id, later)).toBeUndefined();
  await terms.sign({ kind: "price-version", id, hash }, "internal", "");
  expect(agreements.bookInForce(retail.id, later)).toEqual(retail);
  expect(released).toEqual(["again"]);
});

test("over RPC each sees his own, and nobody another's prices", async () => {
  const { terms } = await started();
  await terms.propose("contract", contractText(contract()), "internal");
  const { id, hash } = await terms.propose("price-version", bookText(retail), "internal");
  await terms.sign({ kind: "price-version", id, hash }, "internal", "");
  const as = (identity: Identity) => {
    const transport = createRouterTransport((router) => serveTerms(router, { terms }), {
      router: {
        interceptors: [
          (next) => async (request) => {
            request.contextValues.set(identityKey, identity);
            return next(request);
          },
        ],
      },
    });
    return createClient(ContractService, transport);
  };
  const ids = async (identity: Identity) =>
    (await as(identity).listTerms({})).terms.map(({ termsId }) => termsId).toSorted();
  expect(await ids({ kind: "operator", subject: "op" })).toEqual(["northgrid@1", "retail@1"]);
  expect(await ids({ kind: "vendor", subject: "northgrid" })).toEqual(["northgrid@1"]);
  expect(await ids({ kind: "vendor", subject: "south" })).toEqual([]);
  expect(await ids({ kind: "tenant", subject: "acme" })).toEqual(["retail@1"]);
  const south = as({ kind: "vendor", subject: "south" });
  const asked = { kind: TermsKind.PRICE_VERSION, termsId: "retail@1" };
  await expect(south.getTerms(asked)).rejects.toThrow("there is no retail@1");
  const vendor = as({ kind: "vendor", subject: "northgrid" });
  const text = contractText(contract({ version: 2n, effectiveFromUs: later + 5n }));
  await expect(
    south.proposeTerms({ kind: TermsKind.CONTRACT, canonicalJson: text }),
  ).rejects.toThrow("vendor:south is no party");
  const answer = await vendor.getTerms({ kind: TermsKind.CONTRACT, termsId: "northgrid" });
  expect(answer.terms).toMatchObject({
    termsId: "northgrid@1",
    missingParties: ["internal", north],
  });
  await expect(
    vendor.registerPartyKey({ partyId: "vendor:south", kid: "k", publicKey: "0".repeat(64) }),
  ).rejects.toThrow("party_id: expected vendor:northgrid");
  await expect(
    vendor.withdrawPartyKey({ partyId: "vendor:south", kid: "k", jws: "x" }),
  ).rejects.toThrow("party_id: expected vendor:northgrid");
  await expect(vendor.withdrawPartyKey({ partyId: north, kid: "k", jws: "x" })).rejects.toThrow(
    "has no key k",
  );
});

test("a line of a tenant's book that names pools is refused", async () => {
  const { terms } = await started();
  const lines = [...retail.lines.slice(1), priceLine("uncachedInput", 1n)];
  await expect(
    terms.propose("price-version", bookText({ ...retail, lines }), "internal"),
  ).rejects.toThrow("lines[4].scope: expected contract, found pool");
});
