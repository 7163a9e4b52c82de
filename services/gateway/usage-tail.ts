import type { EngineCapability, EngineKind } from "../core/pool.ts";
import type { EngineCounts, UsageFlag } from "../core/settlement/usage.ts";
import { countIn, objectIn, type JsonObject } from "./json-value.ts";
import { isMalformedUsage } from "./usage-shape.ts";

const nothingSaid: EngineCounts = {
  source: "none",
  input: undefined,
  cacheRead: undefined,
  cacheWrite: undefined,
  output: undefined,
  reasoning: undefined,
};

/**
 * What the engine says of its own counts while a stream goes by. The last statement stands, whatever it is; that
 * it fell, came twice, does not add up or is no count is kept as a flag. Nothing is normalised here.
 */
export class UsageTail {
  readonly #engine: EngineKind;
  readonly #capabilities: ReadonlySet<EngineCapability>;
  readonly #flags = new Set<UsageFlag>();
  #counts = nothingSaid;
  #hasOwnChunk = false;

  constructor(engine: EngineKind, capabilities: ReadonlySet<EngineCapability>) {
    this.#engine = engine;
    this.#capabilities = capabilities;
  }

  get counts(): EngineCounts {
    return this.#counts;
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

  /**
   * `running`: beside text that is still coming. `with-finish`: beside the last text. `own-chunk`: after it, in a
   * chunk of its own, of which there is one.
   */
  observe(usage: JsonObject, place: "running" | "with-finish" | "own-chunk"): void {
    const counts = countsIn(usage, this.#engine, place === "running" ? "continuous" : "final");
    if (place === "own-chunk") {
      if (this.#hasOwnChunk) this.#flags.add("double-final");
      this.#hasOwnChunk = true;
    }
    if (isMalformedUsage(usage)) this.#flags.add("usage-malformed");
    if (isBelow(counts, this.#counts)) this.#flags.add("usage-decreased");
    const total = countIn(usage, "total_tokens");
    if (total !== undefined && total !== (counts.input ?? 0n) + (counts.output ?? 0n)) {
      this.#flags.add("total-mismatch");
    }
    this.#counts = counts;
  }
}

/** The shapes differ by engine: reference/settlement.md 4. */
function countsIn(
  usage: JsonObject,
  engine: EngineKind,
  source: "final" | "continuous",
): EngineCounts {
  const prompt = objectIn(usage, "prompt_tokens_details");
  // What SGLang keeps under this name is speculative decoding, which nobody is billed for.
  const completion = engine === "sglang" ? usage : objectIn(usage, "completion_tokens_details");
  return {
    source,
    input: countIn(usage, "prompt_tokens"),
    cacheRead: countIn(prompt, "cached_tokens") ?? countIn(usage, "prompt_cache_hit_tokens"),
    cacheWrite: countIn(prompt, "cache_write_tokens"),
    output: countIn(usage, "completion_tokens"),
    reasoning: countIn(completion, "reasoning_tokens"),
  };
}

function isBelow(counts: EngineCounts, before: EngineCounts): boolean {
  return (
    isLess(counts.input, before.input) ||
    isLess(counts.output, before.output) ||
    isLess(counts.cacheRead, before.cacheRead) ||
    isLess(counts.reasoning, before.reasoning)
  );
}

function isLess(now: bigint | undefined, before: bigint | undefined): boolean {
  return now !== undefined && before !== undefined && now < before;
}
