import { termsJwsType } from "../../core/settlement/terms/consent.ts";
import { signDetached } from "../../core/settlement/proof/jws.ts";
import { openSigningKey, readSigningKey } from "../../io/signing.ts";
import { ContractService } from "../../wire/gen/tokengrid/v1/contract_pb.js";
import { answered, client, type OutputOptions, type ServerOptions } from "../connect.ts";
import { Failure, type ExitCode } from "../outcome.ts";
import { print } from "../print.ts";

export interface RegisterKeyOptions extends ServerOptions, OutputOptions {
  /** File of the private key, which stays here; made if there is none. */
  readonly key: string;
  readonly kid: string;
  /** Of a key that is on file: file and name. */
  readonly byKey?: string;
  readonly byKid?: string;
}

export async function registerKey(party: string, options: RegisterKeyOptions): Promise<ExitCode> {
  const { key: path, kid } = options;
  const { publicKey } = await openSigningKey(path);
  const jws = await wordOfAnother(`${kid} ${publicKey}`, options);
  const key = { partyId: party, kid, publicKey, jws };
  await answered(options, () => client(ContractService, options).registerPartyKey(key));
  print(options.output, {
    json: { party, kid, publicKey },
    names: [kid],
    text: () => `${kid}: on file for ${party}, public key ${publicKey}\n`,
  });
  return 0;
}

/** Empty for the first key. */
async function wordOfAnother(
  payload: string,
  { byKey: path, byKid: kid }: RegisterKeyOptions,
): Promise<string> {
  if (path === undefined) return "";
  const key = await readSigningKey(path);
  if (key === undefined) throw new Failure(`${path}: expected a private key, found no file`);
  if (kid === undefined) throw new Failure("--by-kid: expected the name of the key, found none");
  return signDetached(payload, { kid, typ: termsJwsType }, key.sign);
}
