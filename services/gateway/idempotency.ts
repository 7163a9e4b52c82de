import { hash } from "node:crypto";
import type { RequestId, TenantId } from "../core/units.ts";
import { Refusal } from "./errors.ts";

const keysMax = 100_000;

/**
 * Remembers which body a tenant's idempotency key came with. The same body is one more attempt of the same
 * request; another one is a mistake. The oldest keys are forgotten first, and a restart forgets them all.
 */
export class IdempotencyKeys {
  readonly #digestByKey = new Map<string, string>();

  /** Throws `Refusal` if the key came with another body before. */
  check(tenant: TenantId, request: RequestId, body: Buffer): void {
    const key = `${tenant}\n${request}`;
    const digest = hash("sha256", body);
    const known = this.#digestByKey.get(key);
    if (known !== undefined && known !== digest) {
      throw new Refusal("CONFLICT", "idempotency-key: it was used with another body before", {
        param: "idempotency-key",
      });
    }
    this.#digestByKey.delete(key);
    this.#digestByKey.set(key, digest);
    const [oldest] = this.#digestByKey.keys();
    if (this.#digestByKey.size > keysMax && oldest !== undefined) this.#digestByKey.delete(oldest);
  }
}
