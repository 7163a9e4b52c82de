import { createPrivateKey, sign as signBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  fromBase64,
  fromBase64Url,
  fromHex,
  toBase64,
  toBase64Url,
  toHex,
  utf8,
} from "../../../../services/core/settlement/proof/bytes.ts";
import {
  checkpointText,
  originOf,
  parseCheckpoint,
} from "../../../../services/core/settlement/proof/checkpoint.ts";
import { cosign, signersOf } from "../../../../services/core/settlement/proof/cosignature.ts";
import {
  formatKey,
  formatNote,
  noteKey,
  noteSignaturesMax,
  parseKey,
  parseNote,
  type Note,
  type NoteKey,
} from "../../../../services/core/settlement/proof/note.ts";
import type { PairId } from "../../../../services/core/units.ts";
import { newSigningKey, sha256, verify } from "../../../../services/io/signing.ts";
import { addCheckpoint, c2spNote, goNote, witnessedCheckpoint } from "../vectors/notes.ts";

describe("bytes", () => {
  test("every encoding is the machine's, and its decoder gives the bytes back", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const buffer = Buffer.from(bytes);
        expect(toHex(bytes)).toBe(buffer.toString("hex"));
        expect(toBase64(bytes)).toBe(buffer.toString("base64"));
        expect(toBase64Url(bytes)).toBe(buffer.toString("base64url"));
        expect(fromHex(toHex(bytes))).toEqual(bytes);
        expect(fromBase64(toBase64(bytes))).toEqual(bytes);
        expect(fromBase64Url(toBase64Url(bytes))).toEqual(bytes);
      }),
    );
  });

  test("utf8() is the machine's, for every text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" }), (one, other) => {
        for (const text of [one, other]) {
          expect(toHex(utf8(text))).toBe(Buffer.from(text, "utf8").toString("hex"));
        }
      }),
    );
    expect(toHex(utf8("\ud800x"))).toBe("efbfbd78");
  });

  const refused = [
    "A",
    "AA",
    "AAA",
    "AB==",
    "AAB=",
    "AAAA=",
    "A===",
    "====",
    "AA=A",
    "A A=",
    "AA-_",
    "ÀÀÀÀ",
    "AAAA\n",
  ];
  for (const text of refused) {
    test(`fromBase64() refuses ${JSON.stringify(text)}`, () => {
      expect(fromBase64(text)).toBe(undefined);
    });
  }

  test("fromHex() takes lower-case digits of whole bytes alone", () => {
    for (const text of ["0", "0G", "AB", " 00", "é0"]) expect(fromHex(text)).toBe(undefined);
  });
});

describe("published notes", () => {
  test("C2SP's test vector of signed-note verifies", () => {
    const key = keyFrom(c2spNote.key);
    expect(key).toEqual({
      name: c2spNote.name,
      id: c2spNote.id,
      publicKey: c2spNote.publicKey,
      type: "signature",
    });
    expect(signedBy(c2spNote.note, [key])).toEqual([key]);
    expect(formatKey(key)).toBe(c2spNote.key);
    expect(formatNote(noteFrom(c2spNote.note))).toBe(c2spNote.note);
  });

  test("Go's example is made again from its seed, byte by byte", () => {
    const key = keyFrom(goNote.key);
    const seed = Buffer.from(goNote.typeAndSeed, "base64").subarray(1);
    const jwk = {
      kty: "OKP",
      crv: "Ed25519",
      d: seed.toString("base64url"),
      x: Buffer.from(key.publicKey, "hex").toString("base64url"),
    };
    const privateKey = createPrivateKey({ key: jwk, format: "jwk" });
    const signature = Uint8Array.from(signBytes(null, Buffer.from(goNote.text), privateKey));
    const { text } = goNote;
    const { name, id } = key;
    expect(formatNote({ text, signatures: [{ name, id, signature }] })).toBe(
      `${text}\n${goNote.signature}`,
    );
  });

  test("a checkpoint with four cosignatures verifies, and its unknown signature is passed over", () => {
    const { log, witnesses, note, timeSeconds, origin, size, root } = witnessedCheckpoint;
    const keys = [log, ...witnesses].map(keyFrom);
    const signers = signersOf(noteFrom(note), keys, verify);
    expect(signers).toEqual(
      keys.map((key, at) => ({ key, timeSeconds: at === 0 ? undefined : timeSeconds })),
    );
    const checkpoint = { origin, size, root, extensions: [] };
    expect(parseCheckpoint(noteFrom(note).text)).toEqual(checkpoint);
    expect(checkpointText(checkpoint)).toBe(noteFrom(note).text);
  });

  test("its cosignatures do not verify under a changed size", () => {
    const { witnesses, note } = witnessedCheckpoint;
    const changed = note.replace("1432088532", "1432088533");
    for (const witness of witnesses) {
      expect(signersOf(noteFrom(changed), [keyFrom(witness)], verify)).toContain("is wrong");
    }
  });

  test("the checkpoint of C2SP's example request is read", () => {
    const note = noteFrom(addCheckpoint.slice(addCheckpoint.indexOf("\n\n") + 2));
    expect(note.signatures.map(({ name, id }) => `${name}+${id}`)).toEqual([
      "example.com/behind-the-sofa+033de0ae",
      "example.com/behind-the-sofa+a292ea05",
    ]);
  });
});

describe("parseKey()", () => {
  const { key } = c2spNote;
  const refused: Readonly<Record<string, string>> = {
    nothing: "",
    "two parts": "example.com/foo+530d903a",
    "no name": key.replace("example.com/foo", ""),
    "a space in the name": key.replace("/foo", " foo"),
    "a wide space in the name": key.replace("/foo", "\u3000foo"),
    "another id": key.replace("530d903a", "530d903b"),
    "an id in capitals": key.replace("530d903a", "530D903A"),
    "another name": key.replace("/foo", "/fop"),
    "base64 that is none": key.replace("AekyeRrm", "A-kyeRrm"),
    "a type that we do not know": key.replace("+Aeky", "+Beky"),
    "a key that is short": "rekor.sigstore.dev+12345678+AwEB",
  };
  for (const [what, text] of Object.entries(refused)) {
    test(`refuses ${what}, and says so`, () => {
      expect(parseKey(text, sha256)).toContain("expected");
    });
  }

  test("reads a key whose base64 has a plus", () => {
    const text = "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6";
    expect(formatKey(keyFrom(text))).toBe(text);
  });
});

describe("parseNote()", () => {
  const { note } = c2spNote;
  const line = note.split("\n")[2] ?? "";
  const refused: Readonly<Record<string, string>> = {
    nothing: "",
    "no signature": "text\n\n",
    "no empty line": `text\n${line}\n`,
    "no end of the last line": note.slice(0, -1),
    "a control character": note.replace("This", "Th\u0007is"),
    "a carriage return": note.replace("message.\n", "message.\r\n"),
    "a tabulator": note.replace("This is", "This\tis"),
    "a hyphen for the dash": note.replace("—", "-"),
    "a name with a plus": note.replace("com/foo", "com+foo"),
    "two spaces": note.replace("foo Uw", "foo  Uw"),
    "a word too many": note.replace("aQM=", "aQM= x"),
    "base64 that is none": note.replace("Uw2QOkn8", "Uw2Q*kn8"),
    "base64 with other last bits": note.replace("aQM=", "aQN="),
    "an id and nothing else": `text\n\n— name ${Buffer.alloc(4).toString("base64")}\n`,
    "too many signatures": `text\n\n${`${line}\n`.repeat(noteSignaturesMax + 1)}`,
    "a very long text": `${"x".repeat(70_000)}\n\n${line}\n`,
  };
  for (const [what, text] of Object.entries(refused)) {
    test(`refuses ${what}, and says so`, () => {
      expect(parseNote(text)).toContain("expected");
    });
  }

  test("takes 16 signatures, and a text with empty lines and characters of all kinds", () => {
    const text = "Ognuno sta solo\n\ned è subito sera 😀\n";
    const many = `${text}\n${`${line}\n`.repeat(16)}`;
    const parsed = noteFrom(many);
    expect(parsed.text).toBe(text);
    expect(parsed.signatures.length).toBe(16);
    expect(formatNote(parsed)).toBe(many);
  });
});

describe("signersOf()", () => {
  const signing = newSigningKey();
  const logKey = noteKey({ name: "log", type: "signature", publicKey: signing.publicKey }, sha256);
  const witnessKey = noteKey(
    { name: "w", type: "cosignature", publicKey: signing.publicKey },
    sha256,
  );
  const text = "log\n1\nroot\n";
  const plain = { name: "log", id: logKey.id, signature: signing.sign(text) };

  test("one key and name of two types has two ids", () => {
    const other = noteKey({ ...logKey, type: "cosignature" }, sha256);
    expect(other.id).not.toBe(logKey.id);
  });

  test("knows nobody by name alone or id alone", () => {
    const strangers: readonly NoteKey[] = [
      { ...logKey, name: "other" },
      { ...logKey, id: "00000000" },
    ];
    expect(signersOf({ text, signatures: [plain] }, strangers, verify)).toEqual([]);
  });

  test("one wrong signature of a known key makes the note wrong, whatever else is right", () => {
    const line = cosign(text, { key: witnessKey, sign: signing.sign, timeSeconds: 7n });
    const good = noteFrom(`${formatNote({ text, signatures: [plain] })}${line}`);
    expect(signersOf(good, [logKey, witnessKey], verify)).toEqual([
      { key: logKey, timeSeconds: undefined },
      { key: witnessKey, timeSeconds: 7n },
    ]);
    fc.assert(
      fc.property(fc.nat(1), fc.nat(), (which, bit) => {
        const broken = good.signatures.map((each, at) =>
          at === which ? { ...each, signature: flip(each.signature, bit) } : each,
        );
        expect(signersOf({ text, signatures: broken }, [logKey, witnessKey], verify)).toContain(
          "is wrong",
        );
      }),
    );
  });

  test("the time of a cosignature is signed, to the second and of any size", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 63n) - 1n }), (timeSeconds) => {
        const line = cosign(text, { key: witnessKey, sign: signing.sign, timeSeconds });
        const note = noteFrom(`${text}\n${line}`);
        expect(signersOf(note, [witnessKey], verify)).toEqual([{ key: witnessKey, timeSeconds }]);
      }),
    );
  });
});

describe("parseCheckpoint()", () => {
  const good = "grid.example/log\n12\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n";
  const refused: Readonly<Record<string, string>> = {
    "two lines": "origin\n12\n",
    "an empty origin": good.replace("grid.example/log", ""),
    "a size with a zero before it": good.replace("\n12", "\n012"),
    "a size below zero": good.replace("\n12", "\n-1"),
    "a size of 64 bits": good.replace("\n12", `\n${1n << 63n}`),
    "a size that is none": good.replace("\n12", "\ntwelve"),
    "a root of 31 bytes": good.replace("Ro=", "R==").replace("4R==", "4Q=="),
    "an empty line behind": `${good}\n`,
    "no end of the last line": good.slice(0, -1),
  };
  for (const [what, text] of Object.entries(refused)) {
    test(`refuses ${what}, and says so`, () => {
      expect(parseCheckpoint(text)).toContain("expected");
    });
  }

  test("keeps the lines of other systems, which are signed with it", () => {
    const text = `${good}extension one\nextension two\n`;
    const checkpoint = parseCheckpoint(text);
    expect(checkpoint).toMatchObject({ extensions: ["extension one", "extension two"] });
    expect(typeof checkpoint === "string" ? checkpoint : checkpointText(checkpoint)).toBe(text);
  });

  test("originOf() a pair is a name of a key", () => {
    expect(originOf("grid.example", "vendor:northgrid" as PairId)).toBe(
      "grid.example/tokengrid/vendor/northgrid",
    );
    expect(originOf("grid.example", "internal")).toBe("grid.example/tokengrid/internal");
  });
});

function keyFrom(text: string): NoteKey {
  const key = parseKey(text, sha256);
  if (typeof key === "string") throw new Error(key);
  return key;
}

function noteFrom(text: string): Note {
  const note = parseNote(text);
  if (typeof note === "string") throw new Error(note);
  return note;
}

function signedBy(note: string, keys: readonly NoteKey[]) {
  const signers = signersOf(noteFrom(note), keys, verify);
  return typeof signers === "string" ? signers : signers.map(({ key }) => key);
}

function flip(bytes: Uint8Array, bit: number): Uint8Array {
  const changed = Uint8Array.from(bytes);
  const at = bit % (8 * bytes.length);
  changed[at >> 3] = (changed[at >> 3] ?? 0) ^ (1 << (at & 7));
  return changed;
}
