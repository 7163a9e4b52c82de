import { writeFileSync } from "node:fs";
import { signDetached } from "../../core/settlement/proof/jws.ts";
import { termsJwsType } from "../../core/settlement/terms/consent.ts";
import { readSigningKey, sha256 } from "../../io/signing.ts";
import {
  ContractService,
  GetTermsResponseSchema,
  ListTermsResponseSchema,
  type TermsKind,
  type TermsVersion,
  TermsVersionSchema,
} from "../../wire/gen/tokengrid/v1/contract_pb.js";
import { termsKindWords } from "../../wire/contract.ts";
import { answered, client, type OutputOptions, type ServerOptions } from "../connect.ts";
import { Failure, type ExitCode, Refusal } from "../outcome.ts";
import { pairOf, type PairOptions } from "../pair.ts";
import { jsonOf, print } from "../print.ts";
import { readTerms, type StartOptions } from "./read-terms.ts";
import { termsCard, termsTable } from "./terms-text.ts";

export type TermsOptions = ServerOptions & OutputOptions;

export interface SignOptions extends TermsOptions {
  /** File of the party's private key. Absent: the caller's credential is its word, and the operator's key is the server's. */
  readonly key?: string;
  readonly kid?: string;
}

export async function validate(
  file: string,
  options: OutputOptions & StartOptions,
  defaultType: string,
): Promise<ExitCode> {
  const { kind, id, pair, signers, text } = readTerms(file, defaultType, options);
  const hash = sha256(text);
  print(options.output, {
    json: { file, isValid: true, kind, id, pair, signers, hash },
    names: [id],
    text: () => `${file}: valid: ${kind} ${id} of ${pair}, SHA-256 ${hash}\n`,
  });
  return Promise.resolve(0);
}

export async function propose(
  file: string,
  options: TermsOptions & StartOptions,
  defaultType: string,
): Promise<ExitCode> {
  const terms = readTerms(file, defaultType, options);
  const request = { kind: termsKindWords.fromWord(terms.kind), canonicalJson: terms.text };
  const answer = await answered(options, () =>
    client(ContractService, options).proposeTerms(request),
  );
  show(options, present(answer.terms));
  return 0;
}

/** Signs what the server has, after it was read: its hash is sent along. */
export async function sign(id: string, options: SignOptions, kind: TermsKind): Promise<ExitCode> {
  const contracts = client(ContractService, options);
  const found = await answered(options, () => contracts.getTerms({ kind, termsId: id }));
  const { canonicalJson, hash, termsId } = present(found.terms);
  if (sha256(canonicalJson) !== hash) {
    throw new Refusal(
      `${termsId}: expected text with SHA-256 ${hash}, found ${sha256(canonicalJson)}`,
    );
  }
  const jws = await signatureOf(canonicalJson, options);
  const answer = await answered(options, () => contracts.signTerms({ kind, termsId, hash, jws }));
  show(options, present(answer.terms));
  return 0;
}

export async function list(
  options: TermsOptions & PairOptions,
  kinds: readonly TermsKind[],
): Promise<ExitCode> {
  const pairId = pairOf(options);
  const answer = await answered(options, () =>
    client(ContractService, options).listTerms({ pairId }),
  );
  const terms = answer.terms.filter(({ kind }) => kinds.includes(kind));
  print(options.output, {
    json: jsonOf(ListTermsResponseSchema, { ...answer, terms }),
    names: terms.map(({ termsId }) => termsId),
    text: (isWide) => termsTable(terms, isWide),
  });
  return 0;
}

export async function get(
  id: string,
  options: TermsOptions & { readonly at?: bigint; readonly out?: string },
  kind: TermsKind,
): Promise<ExitCode> {
  const request = { kind, termsId: id, atUs: options.at ?? 0n };
  const answer = await answered(options, () => client(ContractService, options).getTerms(request));
  const terms = present(answer.terms);
  if (options.out !== undefined) writeFileSync(options.out, signedText(terms));
  print(options.output, {
    json: jsonOf(GetTermsResponseSchema, answer),
    names: [terms.termsId],
    text: () => termsCard(terms),
  });
  return 0;
}

/** The bytes that were signed, and by whom; what was agreed with a credential alone has no signature. */
function signedText({ canonicalJson, hash, signatures }: TermsVersion): string {
  const all = signatures.map(({ partyId, jws }) => ({ party_id: partyId, jws }));
  return `${JSON.stringify({ canonical_json: canonicalJson, hash, signatures: all })}\n`;
}

async function signatureOf(text: string, { key: path, kid }: SignOptions): Promise<string> {
  if (path === undefined) return "";
  const key = await readSigningKey(path);
  if (key === undefined) throw new Failure(`${path}: expected a private key, found no file`);
  if (kid === undefined) throw new Failure("--kid: expected the name of the key, found none");
  return signDetached(text, { kid, typ: termsJwsType }, key.sign);
}

function show(options: OutputOptions, terms: TermsVersion): void {
  const { termsId, missingParties } = terms;
  const rest =
    missingParties.length === 0 ? "everybody has signed" : `to sign: ${missingParties.join(", ")}`;
  print(options.output, {
    json: jsonOf(TermsVersionSchema, terms),
    names: [termsId],
    text: () => `${termsId}: ${rest}\n`,
  });
}

function present(terms: TermsVersion | undefined): TermsVersion {
  if (terms === undefined) throw new Error("expected terms in the answer, found none");
  return terms;
}
