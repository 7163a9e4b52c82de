import type { EngineCapability, EngineKind } from "../../pool.ts";
import type {
  AttemptId,
  BookId,
  GatewayId,
  InstantUs,
  ModelId,
  OriginId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
  VendorId,
} from "../../units.ts";

/** Disjoint: every token is in one class, and the classes add up to the whole. */
export const tokenClasses = [
  "uncachedInput",
  "cacheRead",
  "cacheWrite",
  "response",
  "reasoning",
] as const;

export type TokenClass = (typeof tokenClasses)[number];
export type Tokens = Readonly<Record<TokenClass, bigint>>;

/** As records, statements and metrics write them. */
export const tokenClassNames: Readonly<Record<TokenClass, string>> = {
  uncachedInput: "uncached_input",
  cacheRead: "cache_read",
  cacheWrite: "cache_write",
  response: "response",
  reasoning: "reasoning",
};

export const noTokens: Tokens = {
  uncachedInput: 0n,
  cacheRead: 0n,
  cacheWrite: 0n,
  response: 0n,
  reasoning: 0n,
};

export type AttemptRole = "primary" | "retry" | "hedge" | "audit" | "canary";

export type AttemptEnd =
  | "complete"
  | "client-cancel"
  | "gateway-cancel"
  /** The pool answered with an error, or could not be reached, before the first byte. */
  | "upstream-error"
  /** The pool was lost after the first byte. */
  | "upstream-cut"
  /** Found open in the spool after a restart. */
  | "gateway-crash"
  | "not-dispatched";

export type CancelCause = "hedge-lost" | "quota" | "deadline" | "drain-limit" | "slow-reader";

/** What the engine said last: its own totals, not normalised. Undefined is unknown, never 0. */
export interface EngineCounts {
  readonly source: "final" | "continuous" | "non-stream" | "query" | "none";
  readonly input: bigint | undefined;
  readonly cacheRead: bigint | undefined;
  readonly cacheWrite: bigint | undefined;
  readonly output: bigint | undefined;
  readonly reasoning: bigint | undefined;
}

/** What the gateway counted itself. */
export interface GatewayCounts {
  readonly source: "tokenizer" | "heuristic" | "none";
  readonly input: bigint | undefined;
  readonly output: bigint | undefined;
}

/** Bytes of text that went by, and a digest of it: evidence without content. */
export interface AnswerEvidence {
  readonly outBytes: bigint;
  readonly reasoningBytes: bigint;
  readonly toolBytes: bigint;
  /** Taken by the client's socket. */
  readonly deliveredBytes: bigint;
  readonly chunks: bigint;
  /** SHA-256 of the answer's text, lower-case hex. */
  readonly outDigest: string;
}

export type UsageFlag =
  | "usage-decreased"
  | "double-final"
  | "total-mismatch"
  | "cache-unknown"
  | "reasoning-unknown"
  /** What the engine gave as a count is none: negative, no whole number, or beyond all reason. */
  | "usage-malformed"
  /** The gateway counted the texts of the prompt; what the chat template writes around them is not in it. */
  | "template-unknown"
  /** More was used than reserved, and the rest was charged beyond the reservation. */
  | "overage";

/** A part of a class that has a price of its own: a kind of cache, a modality. What is left of the class has none. */
export interface TokenVariant {
  readonly tokenClass: TokenClass;
  readonly variant: TokenVariantKind;
  readonly tokens: bigint;
}

export const tokenVariantKinds = [
  "implicit",
  "explicit",
  "write_5m",
  "write_1h",
  "image",
  "audio",
] as const;
export type TokenVariantKind = (typeof tokenVariantKinds)[number];

/** Where requests come in; each has its own form of counts. */
export const endpoints = [
  "chat",
  "completions",
  "responses",
  "messages",
  "embeddings",
  "rerank",
] as const;
export type Endpoint = (typeof endpoints)[number];

/**
 * The gateway's witness of one attempt, written once when it closes and never changed. The counts of
 * different witnesses stay side by side; `settleCounts` alone chooses.
 */
export interface UsageRecord {
  /** `<attempt>:<rev>`; a rev above 0 corrects. */
  readonly id: string;
  readonly attempt: AttemptId;
  readonly request: RequestId;
  readonly tenant: TenantId;
  /** Of the tenant, by its API key; empty if none. */
  readonly department: string;
  readonly project: string;
  /** As the caller named it, or its key does; empty if none. */
  readonly scenario: string;
  /** Public part of the API key; empty if none. */
  readonly keyPrefix: string;
  readonly vendor: VendorId;
  readonly pool: PoolId;
  readonly region: RegionId;
  readonly model: ModelId;
  readonly modelVersion: string;
  /** SHA-256 of what the gateway counts with, lower-case hex; undefined where it has none for the model. */
  readonly tokenizerDigest: string | undefined;
  readonly chatTemplateDigest: string | undefined;
  readonly engine: EngineKind;
  /** What the engine says of its own build; undefined if it says nothing. */
  readonly engineVersion: string | undefined;
  readonly capabilities: ReadonlySet<EngineCapability>;
  readonly endpoint: Endpoint;
  readonly gateway: GatewayId;
  /** Of the gateway's spool; a new one when its sequence starts again. */
  readonly epoch: bigint;
  /** Dense within (gateway, epoch), from 1: a hole is a loss. */
  readonly producerSeq: bigint;
  readonly role: AttemptRole;
  /** Its bytes served the tenant. */
  readonly isWinner: boolean;
  readonly openedUs: InstantUs;
  readonly dispatchedUs: InstantUs | undefined;
  readonly firstByteUs: InstantUs | undefined;
  readonly lastByteUs: InstantUs | undefined;
  readonly cancelUs: InstantUs | undefined;
  readonly closedUs: InstantUs;
  /** Bound on the gateway clock's error. */
  readonly clockErrUs: bigint;
  readonly end: AttemptEnd;
  readonly cancelCause: CancelCause | undefined;
  readonly httpStatus: number | undefined;
  readonly finishReason: string | undefined;
  readonly outputTokensMax: bigint | undefined;
  /** Input and output that were set aside for it, with all extensions. Undefined: nothing was. */
  readonly reservedTokens: bigint | undefined;
  /** Of the body that the pool was sent. Undefined: its bytes do not bound its tokens, or nobody counted them. */
  readonly promptBytes: bigint | undefined;
  readonly engineCounts: EngineCounts;
  readonly idsInput: bigint | undefined;
  readonly idsOutput: bigint | undefined;
  readonly gatewayCounts: GatewayCounts;
  /** Of the engine's last statement, sorted by class and variant. */
  readonly variants: readonly TokenVariant[];
  readonly evidence: AnswerEvidence;
  /** SHA-256 of the token ids of the answer, in decimal, each with a comma behind it. */
  readonly idsDigest: string | undefined;
  /** Bytes that were written for the client, of which it took `deliveredBytes`. Undefined: unknown. */
  readonly sentBytes: bigint | undefined;
  /** Bytes of text, of all kinds, that had come when the attempt was given up. Undefined: it was not, or unknown. */
  readonly bytesAtCancel: bigint | undefined;
  /** As the last watermark has it: what the engine had counted, and when. */
  readonly watermarkOutput: bigint | undefined;
  readonly watermarkUs: InstantUs | undefined;
  /** Sorted. */
  readonly flags: readonly UsageFlag[];
  /** Buy side, frozen when the attempt was opened. */
  readonly priceBook: BookId;
  readonly priceVersion: bigint;
  readonly origin: OriginId;
  readonly serviceClass: string;
  /** Expected at placement, for dispatch reports; telemetry, not money. */
  readonly joulesExpected: number;
  readonly gramsCo2Expected: number;
}

/** What a record says of all that nobody has told or measured. */
export const unsaid = {
  department: "",
  project: "",
  scenario: "",
  keyPrefix: "",
  tokenizerDigest: undefined,
  chatTemplateDigest: undefined,
  engineVersion: undefined,
  reservedTokens: undefined,
  idsInput: undefined,
  idsOutput: undefined,
  idsDigest: undefined,
  variants: [],
  sentBytes: undefined,
  bytesAtCancel: undefined,
  watermarkOutput: undefined,
  watermarkUs: undefined,
} as const satisfies Partial<UsageRecord>;
