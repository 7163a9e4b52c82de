import { createRouterTransport } from "@connectrpc/connect";
import type { InstantUs } from "../../services/core/units.ts";
import { identityKey, localOperator, type Identity } from "../../services/io/grpc-identity.ts";
import { validation } from "../../services/io/grpc-validation.ts";
import { newSigningKey, type SigningKey } from "../../services/io/signing.ts";
import { openWitnessState, type WitnessState } from "../../services/io/witness-state.ts";
import { Witness } from "../../services/io/witness.ts";
import { serveLogs } from "../../services/settlement/logs/log-rpc.ts";
import { domain, openProcess, witnessKey } from "./log-fixtures.ts";

/** LogService over a ledger in a file or in memory. */
export async function openLogServer(
  path = ":memory:",
  signing: SigningKey = newSigningKey(),
  /** What the operator signed as witness of others. */
  heads: WitnessState = openWitnessState(":memory:"),
) {
  const process = await openProcess(path, signing);
  const { store, writer, sealer, logKeys } = process;
  const nowUs = (): InstantUs => process.nowUs();
  const own = witnessKey("grid.example/witness");
  const witness = new Witness({
    key: own.key,
    sign: own.signing.sign,
    heads,
    keysOf: (origin) => logKeys.ownLog(origin)?.keys,
    nowSeconds: () => nowUs() / 1_000_000n,
  });
  const { publicKey } = signing;
  const transportOf = (caller: Identity) =>
    createRouterTransport(
      (router) =>
        serveLogs(router, { store, writer, sealer, logKeys, witness, publicKey, domain, nowUs }),
      {
        router: {
          interceptors: [validation],
          requestGate: ({ values }) => {
            values.set(identityKey, caller);
          },
        },
      },
    );
  return {
    ...process,
    witness,
    operator: transportOf(localOperator),
    transportOf,
  };
}

export const northVendor: Identity = { kind: "vendor", subject: "northgrid" };
export const southVendor: Identity = { kind: "vendor", subject: "southgrid" };
