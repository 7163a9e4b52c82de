import type { ModelId, OriginId } from "../units.ts";
import type { PlacementRequest, ServiceClass } from "./request.ts";

type ByRest<Value> = Map<string, Value>;
type ByClass<Value> = Map<ServiceClass, ByRest<Value>>;
type ByOrigin<Value> = Map<OriginId, ByClass<Value>>;

/**
 * A table by kind of request: same model, class and origin, and the same limits on where and by whom it may be served.
 * Level by level, as to make one long key of it takes longer than to look it up.
 */
export class Kinds<Value> {
  readonly #byModel = new Map<ModelId, ByOrigin<Value>>();
  /** Tenants make kinds of their own: a row or an override names one. */
  readonly #isByTenant: boolean;
  #size = 0;

  constructor(isByTenant: boolean) {
    this.#isByTenant = isByTenant;
  }

  get size(): number {
    return this.#size;
  }

  get(request: PlacementRequest): Value | undefined {
    return this.#byModel
      .get(request.model)
      ?.get(request.origin)
      ?.get(request.class)
      ?.get(this.#restOf(request));
  }

  /** Of a kind that it does not have yet. */
  add(request: PlacementRequest, value: Value): void {
    const { model, origin, class: serviceClass } = request;
    const byOrigin: ByOrigin<Value> = this.#byModel.get(model) ?? new Map();
    const byClass: ByClass<Value> = byOrigin.get(origin) ?? new Map();
    const byRest: ByRest<Value> = byClass.get(serviceClass) ?? new Map();
    this.#byModel.set(model, byOrigin.set(origin, byClass.set(serviceClass, byRest)));
    byRest.set(this.#restOf(request), value);
    this.#size += 1;
  }

  clear(): void {
    this.#byModel.clear();
    this.#size = 0;
  }

  /** A line break is in no id. */
  #restOf(request: PlacementRequest): string {
    const { dataClass, mlpsLevelMin, regions, vendorsAllowed, vendorsDenied } = request;
    const level = `${dataClass}\n${mlpsLevelMin}`;
    const hasLists = regions.size + vendorsAllowed.size + vendorsDenied.size > 0;
    if (!hasLists && !this.#isByTenant) return level;
    const lists = [regions, vendorsAllowed, vendorsDenied].map((each) => [...each].join("\t"));
    return `${level}\n${lists.join("\n")}\n${this.#isByTenant ? request.tenant : ""}`;
  }
}
