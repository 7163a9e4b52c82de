import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { rpcTransport } from "../../io/rpc-client.ts";
import { ContractService } from "../../wire/gen/tokengrid/v1/contract_pb.js";
import { proposeRetail, signAsParties, type DevParty } from "./dev-terms.ts";
import { devTenant, type Parties, type Prepared } from "./first-start.ts";

/**
 * The operator proposes what its tenant pays, and the simulated vendors and the tenant sign what waits for them, each with
 * its own credential and its own key. Doing it again changes nothing.
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
    keyPath: join(keys, `${pair.replace(":", "-")}.pem`),
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
}
