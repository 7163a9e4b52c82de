import { fromBase64Url, toBase64Url, utf8 } from "./bytes.ts";
import { canonicalJson } from "../canonical.ts";
import { shown, type PublicKey, type Sign, type Verify } from "./note.ts";

/** What a signature is of, so that one cannot be shown for another. */
export interface JwsHeader {
  /** Names the key. */
  readonly kid: string;
  /** Such as `tokengrid-statement`. */
  readonly typ: string;
}

/** RFC 9864's name; the older one is accepted for the same keys. */
const algorithm = "Ed25519";
const algorithms: readonly unknown[] = [algorithm, "EdDSA"];
const jwsLengthMax = 4_096;
const signatureBytes = 64;

/** RFC 7515, appendix F: compact, without the payload, `header..signature`. */
export function signDetached(payload: string, header: JwsHeader, sign: Sign): string {
  const { kid, typ } = header;
  const encoded = toBase64Url(utf8(canonicalJson({ alg: algorithm, kid, typ })));
  return `${encoded}..${toBase64Url(sign(`${encoded}.${toBase64Url(utf8(payload))}`))}`;
}

/**
 * The header if the key that it names signed the payload, or what is wrong. The algorithm is the key's: what the
 * header says of it is only compared.
 */
export function verifyDetached(
  signed: {
    readonly jws: string;
    readonly payload: string;
    readonly typ: string;
    /** An Ed25519 key; undefined for a stranger. */
    readonly keyOf: (kid: string) => PublicKey | undefined;
  },
  verify: Verify,
): JwsHeader | string {
  const { jws, payload, typ, keyOf } = signed;
  if (jws.length > jwsLengthMax) return `expected at most ${jwsLengthMax} characters of a JWS`;
  const [, encoded = "", signatureText = ""] = /^([\w-]+)\.\.([\w-]+)$/.exec(jws) ?? [];
  const signature = fromBase64Url(signatureText);
  if (signature?.length !== signatureBytes) {
    return `expected header..signature of a detached JWS, found ${shown(jws)}`;
  }
  const header = parseHeader(encoded);
  if (typeof header === "string") return header;
  if (header.typ !== typ) return `expected typ ${typ}, found ${shown(header.typ)}`;
  const key = keyOf(header.kid);
  if (key === undefined) return `no key is given for kid ${shown(header.kid)}`;
  const isGood = verify(key, `${encoded}.${toBase64Url(utf8(payload))}`, signature);
  return isGood ? header : `expected a signature of ${shown(header.kid)}, found one that is wrong`;
}

/** Members we do not know may change what a signature means, so they are refused. */
function parseHeader(encoded: string): JwsHeader | string {
  const members = parseObject(encoded);
  if (members === undefined) return "expected a JSON object as header of a JWS";
  const { alg, kid, typ, ...more } = members;
  if (!algorithms.includes(alg)) {
    return `expected alg Ed25519 or EdDSA, found ${typeof alg === "string" ? shown(alg) : "none"}`;
  }
  if (typeof kid !== "string" || typeof typ !== "string" || Object.keys(more).length > 0) {
    return "expected alg, kid and typ in the header of a JWS and nothing else";
  }
  return { kid, typ };
}

function parseObject(encoded: string): Record<string, unknown> | undefined {
  const bytes = fromBase64Url(encoded);
  // A header of ours is ASCII, and so is what others may write for it.
  if (bytes === undefined || bytes.some((byte) => byte > 0x7e)) return undefined;
  const text = String.fromCharCode(...bytes);
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? Object.fromEntries(Object.entries(value)) : undefined;
  } catch {
    return undefined;
  }
}
