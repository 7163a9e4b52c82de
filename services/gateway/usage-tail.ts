import type { EngineCapability, EngineKind } from "../core/pool.ts";
import type {
  Endpoint,
  EngineCounts,
  TokenVariant,
  UsageFlag,
} from "../core/settlement/counting/usage.ts";
import type { JsonObject } from "./json-value.ts";
import { isMalformedUsage, saidUsage, timingsUsage, type SaidUsage } from "./usage-shape.ts";

const nothingSaid: EngineCounts = {
  source: "none",
  input: undefined,
  cacheRead: undefined,
  cacheWrite: undefined,
  output: undefined,
  reasoning: undefined,
};

/** Beside text that is still coming; beside the last text; after it, in a chunk of its own, of which there is one. */
export type UsagePlace = "running" | "with-finish" | "own-chunk";

/**
 * What the engine says of its own counts while a stream goes by. The last statement stands, whatever it is; that
 * it fell, came twice, does not add up or is no count is kept as a flag. Nothing is normalised here.
 */
export class UsageTail {
  readonly #engine: EngineKind;
  readonly #endpoint: Endpoint;
  readonly #capabilities: ReadonlySet<EngineCapability>;
  readonly #flags = new Set<UsageFlag>();
  #counts = nothingSaid;
  #variants: readonly TokenVariant[] = [];
  #hasOwnChunk = false;

  constructor(
    engine: EngineKind,
    capabilities: ReadonlySet<EngineCapability>,
    endpoint: Endpoint = "chat",
  ) {
    this.#engine = engine;
    this.#capabilities = capabilities;
    this.#endpoint = endpoint;
  }

  get counts(): EngineCounts {
    return this.#counts;
  }

  get variants(): readonly TokenVariant[] {
    return this.#variants;
  }

  /** Sorted. */
  get flags(): readonly UsageFlag[] {
    const flags = new Set(this.#flags);
    const { source, cacheRead, reasoning } = this.#counts;
    if (source !== "none") {
      if (cacheRead === undefined && !this.#capabilities.has("cache-report")) {
        flags.add("cache-unknown");
      }
      if (reasoning === undefined && !this.#capabilities.has("reasoning-count")) {
        flags.add("reasoning-unknown");
      }
    }
    return [...flags].toSorted();
  }

  /** Something stood in place of the counts. */
  malformed(): void {
    this.#flags.add("usage-malformed");
  }

  observe(usage: JsonObject, place: UsagePlace): void {
    if (place === "own-chunk") {
      if (this.#hasOwnChunk) this.#flags.add("double-final");
      this.#hasOwnChunk = true;
    }
    if (isMalformedUsage(usage)) this.#flags.add("usage-malformed");
    this.#keep(saidUsage(usage, this.#engine, this.#endpoint), place);
  }

  /** Counts beside the times of llama.cpp. What it says as usage is said better. */
  observeTimings(timings: JsonObject, place: UsagePlace): void {
    const said = this.#engine === "llamacpp" ? timingsUsage(timings) : undefined;
    if (said !== undefined && this.#counts.source !== "final") this.#keep(said, place);
  }

  #keep({ counts, variants, isPartial, isMismatched }: SaidUsage, place: UsagePlace): void {
    const source = place === "running" ? "continuous" : "final";
    const now = isPartial ? { ...counts, ...stillSaid(counts, this.#counts) } : counts;
    if (isBelow(now, this.#counts)) this.#flags.add("usage-decreased");
    if (isMismatched) this.#flags.add("total-mismatch");
    this.#counts = { source, ...now };
    if (!isPartial || variants.length > 0) this.#variants = variants;
  }
}

type Counts = Omit<EngineCounts, "source">;

/** What a statement leaves out, and one before it said. */
function stillSaid(now: Counts, before: Counts): Partial<Counts> {
  return Object.fromEntries(
    countNames.flatMap((name) => (now[name] === undefined ? [[name, before[name]]] : [])),
  );
}

const countNames = ["input", "cacheRead", "cacheWrite", "output", "reasoning"] as const;

function isBelow(now: Counts, before: Counts): boolean {
  return countNames.some((name) => isLess(now[name], before[name]));
}

function isLess(now: bigint | undefined, before: bigint | undefined): boolean {
  return now !== undefined && before !== undefined && now < before;
}
