import { mapped } from "../../table.ts";
import type { BookId, ModelId, Nano, PairId } from "../../units.ts";
import {
  cancelPolicies,
  crashPolicies,
  cutPolicies,
  defaultContract,
  endings,
  evidenceKinds,
  leakages,
  owedBy,
  type Contract,
  type CostSide,
  type CountRule,
  type DrainLimit,
  type Ending,
  type Owed,
} from "./contract.ts";
import { decimalOf } from "../decimal.ts";
import {
  isWithTenant,
  isWithVendor,
  type AnyContract,
  type PartnerContract,
  type TenantContract,
} from "./other-contracts.ts";
import { defaultPairTerms, signatureRules, silenceRules, type PairTerms } from "./pair-terms.ts";
import { offsetMinutesByZone, type TimeZone } from "../statements/period.ts";
import {
  as,
  id,
  instant,
  integer,
  list,
  object,
  optional,
  otherwise,
  small,
  snake,
  text,
  word,
  type Members,
  type Shape,
} from "./shape.ts";

const ppm = integer(0n, 1_000_000n);
const nano = integer(0n);
const countRules = [
  "engine-final",
  "ids-first",
  "lower-of-witnesses",
  "claim-in-tolerance",
] as const satisfies readonly CountRule[];
const timeZones = Object.keys(offsetMinutesByZone) as TimeZone[];
const costSides: readonly CostSide[] = ["cogs", "audit", ...leakages];
const pair = text(
  /^(vendor|tenant|model|channel):[\w.*-]{1,62}$/,
  "vendor:, tenant:, model: or channel: with an id",
);
const pairShape: Shape<PairId> = as(pair, String, (each) => each as PairId);
const verifierKey = text(/^\S{1,200}\+[0-9a-f]{8}\+\S{1,2000}$/, "a verifier key name+id+key");
const witnessesMax = 16;
const modelsMax = 1_024;

/** In a file an amount may be `50000.00 CNY`; written it is nano. */
const money: Shape<Nano> = {
  write: (value) => value,
  read: (found, place) => {
    const [, cny] = typeof found === "string" ? (/^(\S+) CNY$/.exec(found) ?? []) : [];
    if (cny === undefined || !place.isLenient) return nano.read(found, place);
    return decimalOf(cny, 9) ?? place.refuse("CNY with at most 9 decimals, or whole nano", found);
  },
};

const tou: Members<Pick<Contract, "touBasis" | "touGraceUs" | "attemptNanoMax">> = {
  touBasis: [
    "tou_basis",
    word(["opened", "first-token", "closed"] as const),
    otherwise(defaultContract.touBasis),
  ],
  touGraceUs: ["tou_grace_us", integer(0n, 3_600_000_000n), otherwise(defaultContract.touGraceUs)],
  attemptNanoMax: ["attempt_nano_max", money, otherwise(defaultContract.attemptNanoMax)],
};

/** What a file of a person may leave out is as the house has it; but signatures are required unless it says otherwise. */
const pairTerms: Members<PairTerms> = {
  id: ["contract_id", id<string>()],
  version: ["version", integer(1n)],
  pair: ["pair_id", pairShape],
  effectiveFromUs: ["effective_from_us", instant],
  effectiveToUs: ["effective_to_us", optional(instant), otherwise(undefined)],
  period: ["period", word(["daily", "monthly"] as const), otherwise(defaultPairTerms.period)],
  timeZone: ["tz", word(timeZones, String), otherwise(defaultPairTerms.timeZone)],
  openDays: ["open_days", small(1, 3_650), otherwise(defaultPairTerms.openDays)],
  ackDays: ["ack_days", small(1, 3_650), otherwise(defaultPairTerms.ackDays)],
  resolveDays: ["resolve_days", small(1, 3_650), otherwise(defaultPairTerms.resolveDays)],
  silenceRule: ["silence_rule", word(silenceRules), otherwise(defaultPairTerms.silenceRule)],
  witnessKeys: ["witness_keys", list(verifierKey, witnessesMax), otherwise([])],
  quorum: ["quorum", small(0, witnessesMax), otherwise(0)],
  minimumNano: ["minimum_nano", optional(money), otherwise(undefined)],
  discountPpm: ["discount_ppm", ppm, otherwise(0n)],
  signatures: ["signatures", word(signatureRules), otherwise("required")],
};

const head = { type: "contract", v: "1" };

const drainLimit: Shape<DrainLimit> = object<DrainLimit>({
  seconds: ["seconds", small(0, 3_600)],
  tokens: ["tokens", integer(0n, 100_000_000n)],
  concurrent: ["concurrent", small(0, 1_000_000)],
});

const rates: Shape<ReadonlyMap<ModelId, bigint>> = as(
  list(
    object<{ model: ModelId; tokens: bigint }>({
      model: ["model_id", id<ModelId>()],
      tokens: ["tokens_per_second", integer(1n, 1_000_000_000n)],
    }),
    modelsMax,
  ),
  (kept) =>
    [...kept]
      .map(([model, tokens]) => ({ model, tokens }))
      .toSorted((a, b) => (a.model < b.model ? -1 : 1)),
  (written) => new Map(written.map(({ model, tokens }) => [model, tokens])),
);

type Cell = { [Key in keyof Owed]?: Owed[Key] | undefined };

const cell = object<Cell>({
  vendor: [
    "vendor",
    word(["counts", "generated", "lower-bound", "prompt-only", "nothing"] as const),
    otherwise(undefined),
  ],
  tenant: [
    "tenant",
    word(["counts", "generated", "delivered", "nothing"] as const),
    otherwise(undefined),
  ],
  cost: ["cost", word(costSides), otherwise(undefined)],
  costUnlessWinner: ["cost_unless_winner", word(costSides), otherwise(undefined)],
});

type Cells = Partial<Record<Ending, Cell>>;

const cells = object<Cells>(
  mapped(endings, (_, ending) => [snake(ending), cell, otherwise<Cell | undefined>(undefined)]),
);

const vendorMembers = object<Omit<Contract, "owed"> & { owed: Cells }>(
  {
    ...pairTerms,
    ...tou,
    countRule: ["count_rule", word(countRules), otherwise(defaultContract.countRule)],
    cancelPolicy: ["cancel_policy", word(cancelPolicies), otherwise(defaultContract.cancelPolicy)],
    drainLimit: ["drain_limit", drainLimit, otherwise(defaultContract.drainLimit)],
    onUpstreamCut: ["on_upstream_cut", word(cutPolicies), otherwise(defaultContract.onUpstreamCut)],
    hedgePolicy: ["hedge_policy", word(cancelPolicies), otherwise(defaultContract.hedgePolicy)],
    crashPolicy: ["crash_policy", word(crashPolicies), otherwise(defaultContract.crashPolicy)],
    owed: ["owed", cells, otherwise({})],
    cancelGraceTokens: [
      "cancel_grace_tokens",
      integer(0n, 1_000_000n),
      otherwise(defaultContract.cancelGraceTokens),
    ],
    onCacheUnknown: [
      "on_cache_unknown",
      word(["uncached", "quarantine"] as const),
      otherwise(defaultContract.onCacheUnknown),
    ],
    onReasoningUnknown: [
      "on_reasoning_unknown",
      word(["response", "quarantine"] as const),
      otherwise(defaultContract.onReasoningUnknown),
    ],
    maxReasoningTokens: ["max_reasoning_tokens", optional(integer(0n)), otherwise(undefined)],
    boundSlackTokens: [
      "bound_slack_tokens",
      integer(0n),
      otherwise(defaultContract.boundSlackTokens),
    ],
    promptSlackTokens: [
      "prompt_slack_tokens",
      integer(0n),
      otherwise(defaultContract.promptSlackTokens),
    ],
    toleranceTokens: ["abs_tol", integer(0n), otherwise(defaultContract.toleranceTokens)],
    tolerancePpm: ["ppm_tol", ppm, otherwise(defaultContract.tolerancePpm)],
    aggregatePpm: ["aggregate_ppm", ppm, otherwise(defaultContract.aggregatePpm)],
    rateTokensPerSecondMax: ["max_rate_tok_s", optional(integer(1n)), otherwise(undefined)],
    rateTokensPerSecondMaxByModel: ["max_rate_tok_s_by_model", rates, otherwise(new Map())],
    attemptTokensMax: [
      "attempt_tokens_max",
      integer(1n, 1_000_000_000_000n),
      otherwise(defaultContract.attemptTokensMax),
    ],
    evidence: [
      "evidence",
      list(word(evidenceKinds), evidenceKinds.length),
      otherwise(defaultContract.evidence),
    ],
    splitRule: ["split_rule", optional(id<string>()), otherwise(undefined)],
    loserBook: ["loser_book", optional(id<BookId>()), otherwise(undefined)],
  },
  head,
);

/** The policies say what each cell is, and a cell that is named says otherwise. Written are all cells. */
const vendorContract: Shape<Contract> = {
  write: (contract) => vendorMembers.write(contract),
  read: (found, place) => {
    const read = vendorMembers.read(found, place);
    if (read === undefined || place.misfits.length > 0) return undefined;
    const owed = mapped(owedBy(read), (house, ending): Owed => {
      const { vendor, tenant, cost, costUnlessWinner } = read.owed[ending] ?? {};
      return {
        vendor: vendor ?? house.vendor,
        tenant: tenant ?? house.tenant,
        cost: cost ?? house.cost,
        costUnlessWinner: costUnlessWinner ?? house.costUnlessWinner,
      };
    });
    return { ...read, owed };
  },
};

const tenantContract = object<TenantContract>(
  {
    ...pairTerms,
    ...tou,
    sellBook: ["sell_book", id<BookId>()],
    creditNano: ["credit_nano", optional(money), otherwise(undefined)],
    channel: ["channel", optional(pairShape), otherwise(undefined)],
    splitRule: ["split_rule", optional(id<string>()), otherwise(undefined)],
  },
  head,
);

const partnerContract = object<PartnerContract>(
  {
    ...pairTerms,
    ...tou,
    licenceBook: ["licence_book", optional(id<BookId>()), otherwise(undefined)],
    models: ["models", list(id<ModelId>(), modelsMax), otherwise([])],
  },
  head,
);

/** A contract with anybody: what is in it goes by whom it is with. */
export const contractShape: Shape<AnyContract> = {
  write: (contract) => {
    if (isWithVendor(contract)) return vendorContract.write(contract);
    return isWithTenant(contract)
      ? tenantContract.write(contract)
      : partnerContract.write(contract);
  },
  read: (found, place) => {
    const given = typeof found === "object" && found !== null ? Object.entries(found) : [];
    const [, named] = given.find(([name]) => name === "pair_id") ?? [];
    const party = pair.read(named, place.at("pair_id"))?.split(":")[0];
    if (party === undefined) return undefined;
    if (party === "vendor") return vendorContract.read(found, place);
    return party === "tenant"
      ? tenantContract.read(found, place)
      : partnerContract.read(found, place);
  },
};
