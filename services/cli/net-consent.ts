import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nettingJwsType } from "../core/settlement/claims/netting.ts";
import type { RunNettingResponse } from "../wire/gen/tokengrid/v1/claim_pb.js";
import { Failure } from "./outcome.ts";
import { openSigner, type KeyOptions } from "./signed.ts";

const textEnding = ".netting.json";
const signatureEnding = ".jws";

/** Writes the text of each pair whose money would move, for that pair to sign. Returns their files. */
export function writeTexts(folder: string, { toSign }: RunNettingResponse): string[] {
  mkdirSync(folder, { recursive: true });
  return toSign.map(({ pairId, textJson }) => {
    const path = join(folder, `${pairId.replaceAll(":", "-")}${textEnding}`);
    writeFileSync(path, textJson);
    return path;
  });
}

/** Signs the text of a pair as it is; the signature is beside it. */
export async function signText(path: string, options: KeyOptions): Promise<string> {
  const text = readFileSync(path, "utf8");
  membersOf(path, text);
  const signature = `${path}${signatureEnding}`;
  writeFileSync(signature, (await openSigner(options, nettingJwsType))(text));
  return signature;
}

/** What pairs have signed: who has not is told by the ledger. */
export function readConsents(folder: string): {
  readonly atUs: bigint;
  readonly consents: readonly { readonly pairId: string; readonly jws: string }[];
} {
  const names = readdirSync(folder);
  const texts = names.filter((name) => name.endsWith(textEnding)).toSorted();
  const found = texts.map((name) => {
    const path = join(folder, name);
    const { pair_id: pairId, at_us: atUs } = membersOf(path, readFileSync(path, "utf8"));
    const isSigned = names.includes(`${name}${signatureEnding}`);
    const jws = isSigned ? readFileSync(`${path}${signatureEnding}`, "utf8") : undefined;
    return { pairId, atUs, jws };
  });
  const instants = new Set(found.map(({ atUs }) => atUs));
  const [first] = instants;
  if (first === undefined || instants.size > 1) {
    throw new Failure(`${folder}: expected texts of one proposal, found ${instants.size}`);
  }
  const consents = found.flatMap(({ pairId, jws }) => (jws === undefined ? [] : [{ pairId, jws }]));
  return { atUs: BigInt(first), consents };
}

function membersOf(
  path: string,
  text: string,
): { readonly pair_id: string; readonly at_us: string } {
  try {
    const members = JSON.parse(text) as Readonly<Record<string, unknown>>;
    const { type, pair_id, at_us } = members;
    if (type === "netting" && typeof pair_id === "string" && typeof at_us === "string") {
      return { pair_id, at_us };
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new Failure(`${path}: expected the text of a netting, as --propose wrote it`);
}
