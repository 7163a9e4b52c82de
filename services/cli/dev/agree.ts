import { createClient } from "@connectrpc/connect";
import { formatKey, noteKey } from "../../core/settlement/proof/note.ts";
import { rpcTransport } from "../../io/rpc-client.ts";
import { openSigningKey, sha256 } from "../../io/signing.ts";
import { ContractService } from "../../wire/gen/tokengrid/v1/contract_pb.js";
import { LogKeyRole, LogService } from "../../wire/gen/tokengrid/v1/log_pb.js";
import { proposeRetail, signAsParties, type DevParty } from "./dev-terms.ts";
import { devTenant, type Parties, type Prepared } from "./first-start.ts";
import { keyFileOf, witnessKeyFile, witnessName } from "./party-keys.ts";

/**
 * The operator proposes what its tenant pays, and the simulated vendors and the tenant sign what waits for them, each with
 * its own credential and its own key. The vendors' witnesses are trusted. Doing it again changes nothing.
 */
export async function agree(options: {
  readonly url: string;
  /** Folder of the parties' keys. */
  readonly keys: string;
  readonly prepared: Prepared;
  readonly parties: Parties;
}): Promise<void> {
  const { url, keys, prepared, parties } = options;
  const contractsAs = (credential: string) =>
    createClient(ContractService, rpcTransport({ url, credential }));
  const party = (pair: string, credential: string): DevParty => ({
    pair,
    contracts: contractsAs(credential),
    keyPath: keyFileOf(keys, pair),
  });
  await proposeRetail({
    operator: contractsAs(prepared.operatorKey),
    tenant: devTenant,
    buyBooks: parties.priceBooks,
    nowUs: BigInt(Date.now()) * 1_000n,
  });
  const vendors = Object.entries(prepared.credentialByVendor);
  await signAsParties([
    ...vendors.map(([vendor, credential]) => party(`vendor:${vendor}`, credential)),
    party(`tenant:${devTenant}`, prepared.devKey),
  ]);
  const logs = createClient(LogService, rpcTransport({ url, credential: prepared.operatorKey }));
  for (const [vendor] of vendors) {
    const { publicKey } = await openSigningKey(witnessKeyFile(keys, vendor));
    const key = noteKey({ name: witnessName(vendor), type: "cosignature", publicKey }, sha256);
    const logId = `vendor:${vendor}`;
    await logs.trustKey({ logId, role: LogKeyRole.WITNESS, key: formatKey(key) });
  }
}
