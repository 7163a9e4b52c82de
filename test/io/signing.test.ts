import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { generateKeyPairSync } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  newSigningKey,
  openSigningKey,
  readSigningKey,
  sha256,
  verify,
} from "../../services/io/signing.ts";

const folder = () => mkdtempSync(join(tmpdir(), "signing-"));

test("openSigningKey() makes a key that only its owner may read, and reads the same one again", async () => {
  const path = join(folder(), "log.pem");
  const key = await openSigningKey(path);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readFileSync(path, "utf8")).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
  expect((await openSigningKey(path)).publicKey).toBe(key.publicKey);
  expect(key.publicKey).toMatch(/^[0-9a-f]{64}$/);
});

test("openSigningKey() by many at once makes one key and leaves nothing else", async () => {
  const path = join(folder(), "log.pem");
  const keys = await Promise.all(Array.from({ length: 8 }, () => openSigningKey(path)));
  expect(new Set(keys.map(({ publicKey }) => publicKey)).size).toBe(1);
  expect(readdirSync(join(path, ".."))).toEqual(["log.pem"]);
});

test("readSigningKey() knows of no key where there is no file", async () => {
  expect(await readSigningKey(join(folder(), "log.pem"))).toBe(undefined);
});

for (const mode of [0o640, 0o604, 0o620, 0o700, 0o644]) {
  test(`openSigningKey() refuses a file of mode ${mode.toString(8)}, and says so`, async () => {
    const path = join(folder(), "log.pem");
    await openSigningKey(path);
    chmodSync(path, mode);
    await expect(openSigningKey(path)).rejects.toThrow(
      `expected mode 0600 of a private key, found 0${mode.toString(8)}`,
    );
  });
}

const others: Readonly<Record<string, string>> = {
  "no key at all": "hello",
  "a public key": generateKeyPairSync("ed25519")
    .publicKey.export({ format: "pem", type: "spki" })
    .toString(),
  "a key of another kind": generateKeyPairSync("ec", { namedCurve: "P-256" })
    .privateKey.export({ format: "pem", type: "pkcs8" })
    .toString(),
  "far too much": "x".repeat(10_000),
};
for (const [what, text] of Object.entries(others)) {
  test(`openSigningKey() refuses a file with ${what}, and says so`, async () => {
    const path = join(folder(), "log.pem");
    writeFileSync(path, text, { mode: 0o600 });
    await expect(openSigningKey(path)).rejects.toThrow(/expected .*key/);
    expect(readFileSync(path, "utf8")).toBe(text);
  });
}

test("openSigningKey() does not follow a link", async () => {
  const path = join(folder(), "log.pem");
  await openSigningKey(`${path}.real`);
  symlinkSync(`${path}.real`, path);
  await expect(openSigningKey(path)).rejects.toThrow("ELOOP");
});

test("verify() says no to what is no key and no signature, and never throws", () => {
  const { publicKey, sign } = newSigningKey();
  const signature = sign("text");
  expect(verify(publicKey, "text", signature)).toBe(true);
  expect(verify(publicKey, "text ", signature)).toBe(false);
  expect(verify(newSigningKey().publicKey, "text", signature)).toBe(false);
  expect(verify(publicKey, "text", signature.slice(1))).toBe(false);
  expect(verify(publicKey, "text", new Uint8Array())).toBe(false);
  for (const key of ["", "00", "zz".repeat(32), "ff".repeat(32), "00".repeat(32)]) {
    expect(verify(key, "text", signature)).toBe(false);
  }
});

test("a key of small order signs nothing", () => {
  // With the neutral point as key, R = B·0 and S = 0 satisfy a check that does not look.
  const neutral = `01${"00".repeat(31)}`;
  const forged = Uint8Array.from([1, ...Array.from({ length: 63 }, () => 0)]);
  expect(verify(neutral, "any text", forged)).toBe(false);
});

test("sha256() is of a text's UTF-8 and of bytes alike", () => {
  expect(sha256("é")).toBe(sha256(Buffer.from("é")));
});
