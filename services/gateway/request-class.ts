import {
  derivedClass,
  toServiceClass,
  type ClassTable,
  type DerivedClass,
} from "../core/placement/class-table.ts";
import { serviceClasses } from "../core/placement/request.ts";
import type { ModelId, TenantId } from "../core/units.ts";
import type { ChatRequest } from "./chat-request.ts";
import { Refusal } from "./errors.ts";
import { textHeader, type Exchange } from "./exchange.ts";

/** The class of a request and from what it follows. Throws `Refusal` for a word that is no class. */
export function requestClass(
  { request, key }: Exchange,
  chat: Pick<ChatRequest, "model" | "hints" | "serviceTier">,
  known: {
    readonly table: ClassTable;
    readonly model: ModelId;
    readonly deadlineMs: number | undefined;
    readonly endpoint: string;
  },
): DerivedClass {
  const { table, model, deadlineMs, endpoint } = known;
  return derivedClass(
    {
      header: checked("x-tokengrid-class", textHeader(request, "x-tokengrid-class")),
      member: checked("tokengrid.class", chat.hints["class"]),
      serviceTier: chat.serviceTier,
      deadlineMs,
      key: key.class,
      tenant: key.subject as TenantId,
      name: chat.model,
      model,
      endpoint,
    },
    table,
  );
}

function checked(param: string, word: unknown): string | undefined {
  if (word === undefined || word === null) return undefined;
  if (typeof word === "string" && toServiceClass(word) !== undefined) return word;
  const expected = serviceClasses.join(", ");
  throw new Refusal("BAD_REQUEST", `${param}: expected one of ${expected}`, { param });
}
