import type { ModelId, TenantId } from "../units.ts";
import { serviceClasses, type ServiceClass } from "./request.ts";

/** How the class of a request is found that does not state one. Data of the policy. */
export interface ClassTable {
  /** By OpenAI's `service_tier`. A tier that is not here says nothing of the class. */
  readonly serviceTiers: ReadonlyMap<string, ServiceClass>;
  /** A deadline of at most so many ms means the class; the tightest row that holds counts. */
  readonly deadlines: readonly { readonly msMax: number; readonly class: ServiceClass }[];
  readonly tenants: ReadonlyMap<TenantId, ServiceClass>;
  /** By the name that was asked for, or by the model. */
  readonly models: ReadonlyMap<string, ServiceClass>;
  /** By path, such as `/v1/embeddings`. */
  readonly endpoints: ReadonlyMap<string, ServiceClass>;
  readonly default: ServiceClass;
}

/**
 * House default. `flex` is OpenAI's word for work that may wait; `priority` says who is shed last, which is the criticality
 * and no class: a class has a latency circle, and a pool in the west may well serve a request that is urgent. A deadline
 * of the whole answer so short that no way across the country fits in it, or hardly, is a class of its own.
 */
export const houseClassTable: ClassTable = {
  serviceTiers: new Map<string, ServiceClass>([["flex", "batch-offline"]]),
  deadlines: [
    { msMax: 500, class: "metro-realtime" },
    { msMax: 2_000, class: "realtime-interactive" },
  ],
  tenants: new Map(),
  models: new Map(),
  endpoints: new Map<string, ServiceClass>([
    ["/v1/batches", "batch-offline"],
    ["/v1/embeddings", "batch-offline"],
  ]),
  default: "llm-interactive",
};

/** What a request says from which its class follows. Undefined: not said. */
export interface ClassHints {
  /** The word of the header `x-tokengrid-class`. */
  readonly header: string | undefined;
  /** Member `tokengrid.class` of the body. */
  readonly member: string | undefined;
  readonly serviceTier: string | undefined;
  readonly deadlineMs: number | undefined;
  /** What the key is for. */
  readonly key: ServiceClass | undefined;
  readonly tenant: TenantId;
  /** The name that was asked for, and the model that stands first for it. */
  readonly name: string;
  readonly model: ModelId;
  readonly endpoint: string;
}

/** A class, and in words from what it follows. */
export interface DerivedClass {
  readonly class: ServiceClass;
  /** Such as `header`, `service_tier=flex`, `deadline 300 ms`, `default`. */
  readonly source: string;
}

type Clue = (
  hints: ClassHints,
  table: ClassTable,
) => readonly [ServiceClass | undefined, string] | undefined;

/**
 * In this order, and the first that says anything counts: what the caller states, what he hints at, what is known of him,
 * what is known of what he asks for.
 */
const clues: readonly Clue[] = [
  ({ header }) => (header === undefined ? undefined : [toServiceClass(header), "header"]),
  ({ member }) => (member === undefined ? undefined : [toServiceClass(member), "tokengrid.class"]),
  ({ serviceTier = "" }, table) => [
    table.serviceTiers.get(serviceTier),
    `service_tier=${serviceTier}`,
  ],
  ({ deadlineMs }, table) => [ofDeadline(deadlineMs, table), `deadline ${deadlineMs} ms`],
  ({ key }) => [key, "key"],
  ({ tenant }, table) => [table.tenants.get(tenant), `tenant ${tenant}`],
  ({ name, model }, table) => [table.models.get(name) ?? table.models.get(model), `model ${name}`],
  ({ endpoint }, table) => [table.endpoints.get(endpoint), `endpoint ${endpoint}`],
];

/** Words that are no class are passed over: who lets them in has said so. */
export function derivedClass(hints: ClassHints, table: ClassTable): DerivedClass {
  for (const clue of clues) {
    const [found, source] = clue(hints, table) ?? [undefined, ""];
    if (found !== undefined) return { class: found, source };
  }
  return { class: table.default, source: "default" };
}

export function toServiceClass(word: string): ServiceClass | undefined {
  return serviceClasses.find((each) => each === word);
}

function ofDeadline(
  deadlineMs: number | undefined,
  { deadlines }: ClassTable,
): ServiceClass | undefined {
  if (deadlineMs === undefined) return undefined;
  const held = deadlines.filter(({ msMax }) => deadlineMs <= msMax);
  return held.toSorted((a, b) => a.msMax - b.msMax)[0]?.class;
}
