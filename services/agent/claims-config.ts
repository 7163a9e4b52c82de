import type { Transport } from "@connectrpc/connect";
import { z } from "zod";
import type { PoolRegistration } from "../core/pool.ts";
import type { VendorId } from "../core/units.ts";
import type { Log } from "../io/log.ts";
import { openSigningKey } from "../io/signing.ts";
import { openClaimOutbox } from "./claim-outbox.ts";
import { ClaimSender, followClaims, type CountSource } from "./claims.ts";
import { CountLog } from "./count-log.ts";

/** How a vendor claims what its engines served. */
export const claimsSchema = z.strictObject({
  /** JSON lines that the vendor's proxy writes; deploy/config/agent.yaml has one. */
  logFile: z.string().min(1),
  /** What waits for the operator, and how far the log was read. */
  outboxFile: z.string().min(1),
  /** PEM file of the key that signs; made if there is none. */
  keyFile: z.string().min(1),
  /** Under which name the operator has that key, such as `vendor:northgrid/2026`. */
  kid: z.string().min(1).max(128),
  intervalMs: z.int().min(200).max(3_600_000).default(5_000),
});

export type ClaimsConfig = z.output<typeof claimsSchema>;

/** Where a vendor's claims come from and go to. */
export interface ClaimsOptions extends Pick<
  ClaimsConfig,
  "outboxFile" | "keyFile" | "kid" | "intervalMs"
> {
  readonly vendor: VendorId;
  readonly source: CountSource;
  readonly transport: Transport;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Claims from now on until the signal says stop. `closed` resolves when the last round is over; it never rejects. */
export async function openClaims(
  options: ClaimsOptions,
): Promise<{ readonly closed: Promise<void> }> {
  const { vendor, source, transport, kid, intervalMs, signal } = options;
  const log = options.log.child({ claimsOf: vendor });
  const { sign } = await openSigningKey(options.keyFile);
  const outbox = openClaimOutbox(options.outboxFile);
  const nowUs = (): bigint => BigInt(Date.now()) * 1_000n;
  const sender = new ClaimSender({ vendor, transport, source, outbox, kid, sign, nowUs, log });
  const closed = followClaims({ sender, intervalMs, log, signal })
    .catch((error: unknown) => log.error({ error }, "nothing is claimed any more"))
    .finally(() => outbox.close());
  return { closed };
}

/** The log of a pool's proxy. */
export function logOf(path: string, registration: PoolRegistration, log: Log): CountSource {
  const modelByEngineName = new Map(
    registration.models.map(({ engineModelName, model }) => [engineModelName, model]),
  );
  return new CountLog({ path, pool: registration.id, modelByEngineName, log });
}
