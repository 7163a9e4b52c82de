import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { serviceClasses, type ServiceClass } from "../core/placement/request.ts";

/** Whose credential it is: a tenant's API key, a vendor's agent, an operator, the owner of models, a sales channel. */
export const keyKinds = ["tenant", "vendor", "operator", "model", "channel"] as const;
export type KeyKind = (typeof keyKinds)[number];

/** Name of a department, project or scenario: an id, so that it fits a header, a path and a column. */
export const dimensionSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][\w.-]{0,63}$/,
    "expected 1 to 64 letters, digits, dots, dashes, underscores",
  );

/** What the registry keeps of a key: nothing in it opens a door. */
export const keyRecordSchema = z.strictObject({
  prefix: z.string(),
  hash: z.string(),
  kind: z.enum(keyKinds),
  /** Id of the tenant, vendor, owner or channel, or the operator's name. */
  subject: z.string().min(1),
  /** Models or aliases it may use. Empty means all. */
  models: z.array(z.string()),
  /** Class of requests that state none. Absent: the policy's table says. */
  class: z.enum(serviceClasses).exactOptional(),
  /** Whose use it is within the tenant. Absent: nobody's in particular. */
  department: dimensionSchema.exactOptional(),
  project: dimensionSchema.exactOptional(),
  /** Of requests that name none. */
  scenario: dimensionSchema.exactOptional(),
  /** May ask for debug headers and name the origin of a request. */
  isDebug: z.boolean(),
  createdAtUs: z.string(),
  isRevoked: z.boolean(),
});

export type KeyRecord = z.output<typeof keyRecordSchema>;

const marks: Readonly<Record<KeyKind, string>> = {
  tenant: "sk-tg",
  vendor: "vk-tg",
  operator: "ok-tg",
  model: "mk-tg",
  channel: "ck-tg",
};

/** `sk-tg-<prefix>-<secret>`: 256 random bits, so a plain hash is enough. The secret is shown once. */
export function createKey(options: {
  readonly kind: KeyKind;
  readonly subject: string;
  readonly models?: readonly string[];
  readonly isDebug?: boolean;
  readonly serviceClass?: ServiceClass | undefined;
  readonly department?: string | undefined;
  readonly project?: string | undefined;
  readonly scenario?: string | undefined;
  readonly nowUs: bigint;
}): { readonly secret: string; readonly record: KeyRecord } {
  const { kind, subject, models = [], isDebug = false, serviceClass, nowUs } = options;
  const { department, project, scenario } = options;
  const prefix = `${marks[kind]}-${randomBytes(6).toString("hex")}`;
  const secret = `${prefix}-${randomBytes(32).toString("hex")}`;
  const record: KeyRecord = {
    prefix,
    hash: hashOf(secret),
    kind,
    subject,
    models: [...models],
    ...(serviceClass && { class: serviceClass }),
    ...(department !== undefined && { department }),
    ...(project !== undefined && { project }),
    ...(scenario !== undefined && { scenario }),
    isDebug,
    createdAtUs: nowUs.toString(),
    isRevoked: false,
  };
  return { secret, record };
}

/** The public part by which the registry finds the record; undefined if the text is no key at all. */
export function prefixOf(secret: string): string | undefined {
  return /^((?:sk|vk|ok|mk|ck)-tg-[0-9a-f]{12})-[0-9a-f]{64}$/.exec(secret)?.[1];
}

/** Compares in constant time. */
export function isKeyOf(secret: string, record: KeyRecord): boolean {
  const [given, kept] = [Buffer.from(hashOf(secret)), Buffer.from(record.hash)];
  return !record.isRevoked && given.length === kept.length && timingSafeEqual(given, kept);
}

function hashOf(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}
