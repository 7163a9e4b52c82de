import { createPrivateKey, sign as signBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { signDetached, verifyDetached } from "../../../../services/core/settlement/proof/jws.ts";
import { newSigningKey, verify } from "../../../../services/io/signing.ts";
import { rfc8037 } from "../vectors/notes.ts";

const signing = newSigningKey();
const payload = '{"type":"statement","net_nano":"3728798"}';
const kid = "grid.example/statements+0a1b2c3d";
const typ = "tokengrid-statement";
const jws = signDetached(payload, { kid, typ }, signing.sign);
const keyOf = (id: string) => (id === kid ? signing.publicKey : undefined);
const good = { jws, payload, typ, keyOf };

describe("detached JWS", () => {
  test("is header..signature with alg Ed25519, kid and typ", () => {
    const [header = "", middle, signature = ""] = jws.split(".");
    expect(Buffer.from(header, "base64url").toString()).toBe(
      `{"alg":"Ed25519","kid":"${kid}","typ":"${typ}"}`,
    );
    expect([middle, Buffer.from(signature, "base64url").length]).toEqual(["", 64]);
    expect(verifyDetached(good, verify)).toEqual({ kid, typ });
  });

  test("signs what RFC 7515 says: the signature of RFC 8037 is of header.payload", () => {
    const { seed, publicKey, header, signature } = rfc8037;
    const key = createPrivateKey({
      key: { kty: "OKP", crv: "Ed25519", d: seed, x: publicKey },
      format: "jwk",
    });
    const input = `${header}.${Buffer.from(rfc8037.payload).toString("base64url")}`;
    expect(signBytes(null, Buffer.from(input), key).toString("base64url")).toBe(signature);
    const hex = Buffer.from(publicKey, "base64url").toString("hex");
    expect(verify(hex, input, Buffer.from(signature, "base64url"))).toBe(true);
    // Without kid and typ nobody knows whose it is and of what.
    const detached = {
      jws: `${header}..${signature}`,
      payload: rfc8037.payload,
      typ,
      keyOf: () => hex,
    };
    expect(verifyDetached(detached, verify)).toContain("expected alg, kid and typ");
  });

  test("takes the older name of the algorithm for the same key", () => {
    const old = resigned({ alg: "EdDSA", kid, typ });
    expect(verifyDetached({ ...good, jws: old }, verify)).toEqual({ kid, typ });
  });

  const refused: Readonly<Record<string, Partial<typeof good>>> = {
    nothing: { jws: "" },
    "the payload inside": {
      jws: jws.replace("..", `.${Buffer.from(payload).toString("base64url")}.`),
    },
    "another payload": { payload: payload.replace("8", "9") },
    "another typ": { typ: "tokengrid-contract" },
    "a stranger's kid": { keyOf: () => undefined },
    "another key": { keyOf: () => newSigningKey().publicKey },
    "no algorithm": { jws: resigned({ alg: "none", kid, typ }) },
    "a symmetric algorithm": { jws: resigned({ alg: "HS256", kid, typ }) },
    "another curve": { jws: resigned({ alg: "Ed448", kid, typ }) },
    "a key in the header": { jws: resigned({ alg: "Ed25519", kid, typ, jwk: { kty: "OKP" } }) },
    "a critical member": { jws: resigned({ alg: "Ed25519", kid, typ, crit: ["b64"], b64: false }) },
    "a kid that is no text": { jws: resigned({ alg: "Ed25519", kid: 7, typ }) },
    "a header that is a list": { jws: resigned(["Ed25519"]) },
    "a signature with padding": { jws: `${jws}==` },
    "a short signature": { jws: jws.slice(0, -4) },
  };
  for (const [what, changes] of Object.entries(refused)) {
    test(`verifyDetached() refuses ${what}, and says so`, () => {
      expect(verifyDetached({ ...good, ...changes }, verify)).toMatch(/expected|no key/);
    });
  }

  test("one changed character in any part fails", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(6), fc.boolean(), (which, bit, isPayload) => {
        const text = Buffer.from(isPayload ? payload : jws);
        const at = which % text.length;
        text[at] = (text[at] ?? 0) ^ (1 << bit);
        const changes = isPayload ? { payload: text.toString() } : { jws: text.toString() };
        expect(typeof verifyDetached({ ...good, ...changes }, verify)).toBe("string");
      }),
      { numRuns: 1_000 },
    );
  });

  test("a payload with characters of all kinds is signed as UTF-8", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const signed = signDetached(text, { kid, typ }, signing.sign);
        expect(verifyDetached({ ...good, jws: signed, payload: text }, verify)).toEqual({
          kid,
          typ,
        });
      }),
    );
  });
});

function resigned(header: unknown): string {
  const encoded = Buffer.from(JSON.stringify(header)).toString("base64url");
  const input = `${encoded}.${Buffer.from(payload).toString("base64url")}`;
  return `${encoded}..${Buffer.from(signing.sign(input)).toString("base64url")}`;
}
