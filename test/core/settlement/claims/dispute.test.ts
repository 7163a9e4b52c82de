import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { disputeReasons } from "../../../../services/core/settlement/claims/dispute-reason.ts";
import {
  creditAccount,
  disputeEntries,
  effectOf,
  standingNano,
  undisputedNano,
} from "../../../../services/core/settlement/claims/dispute-money.ts";
import {
  apply,
  fromTransitionText,
  replayed,
  toTransitionText,
  type Transition,
} from "../../../../services/core/settlement/claims/dispute-text.ts";
import {
  actors,
  decidedStates,
  disputeRules,
  disputeStates,
  dueOf,
  finalStates,
  missingMaxNano,
  moveDispute,
  openDispute,
  silentParty,
  type Actor,
  type Dispute,
  type DisputeClaim,
  type DisputeState,
  type DisputeTerms,
  type Disputed,
  type Move,
} from "../../../../services/core/settlement/claims/dispute.ts";
import {
  balanceText,
  movements,
  payableAccount,
  type LedgerEntry,
} from "../../../../services/core/settlement/ledger/ledger.ts";
import type { PairId } from "../../../../services/core/units.ts";
import { friday, sha256 } from "../fixtures.ts";

const terms: DisputeTerms = {
  openDays: 45,
  ackDays: 7,
  resolveDays: 30,
  silenceRule: "silent-party-loses",
};

const dayUs = 86_400_000_000n;
const statedUs = friday - dayUs;
const pair = "vendor:northgrid" as PairId;
const statedNano = 10_000n;
/** Nothing of it is approved, nothing is claimed beyond it. */
const about = {
  ...{ statedUs, undisputedNano: statedNano, openNano: statedNano },
  ...{ missingNano: 0n, evidenceNano: 0n },
};

function claim(changes: Partial<DisputeClaim> = {}): DisputeClaim {
  return {
    id: "d1",
    pair,
    statement: "vendor:northgrid:daily:2026-11-19:0",
    opener: "operator",
    reason: "QTY_OUTPUT",
    items: [
      { account: "exp:cogs:pool:p1", amountNano: 1_000n },
      { account: "exp:leakage:abort", amountNano: 2_001n },
    ],
    ...changes,
  };
}

function opened(changes: Partial<DisputeClaim> = {}, nowUs = friday): Dispute {
  const known = { ...about, nowUs, terms };
  return after(openDispute(claim(changes), known));
}

function after(moved: ReturnType<typeof moveDispute>): Dispute {
  expect(moved).toMatchObject({ kind: "moved" });
  return (moved as Extract<typeof moved, { kind: "moved" }>).dispute;
}

const bundle = "ab".repeat(32);

/** One of each kind. */
const moves: readonly Move[] = [
  { to: "acknowledged" },
  { to: "evidence", bundles: [bundle] },
  { to: "accepted-by-vendor" },
  { to: "accepted-by-operator" },
  { to: "split", num: 1n, den: 3n },
  { to: "arbitrated", approvedNano: 2_000n },
  { to: "withdrawn" },
  { to: "lapsed" },
  { to: "settled" },
];

/** In time, and long after every timer. */
const instants = [friday + 1n, friday + 100n * dayUs] as const;

/** All that can become of a dispute, by anybody, at any time: state → states after it. */
function reachable(from: Dispute, limits: DisputeTerms): Map<DisputeState, Set<DisputeState>> {
  const next = new Map<DisputeState, Set<DisputeState>>();
  const seen = new Set<string>();
  const open = [from];
  for (let dispute = open.pop(); dispute !== undefined; dispute = open.pop()) {
    const known = next.get(dispute.state) ?? new Set();
    next.set(dispute.state, known);
    for (const move of moves) {
      for (const by of actors) {
        for (const nowUs of instants) {
          const moved = moveDispute(dispute, move, { by, nowUs, terms: limits });
          if (moved.kind === "refused") continue;
          known.add(moved.dispute.state);
          const key = `${moved.dispute.state} ${moved.dispute.heard.join()}`;
          if (!seen.has(key)) open.push(moved.dispute);
          seen.add(key);
        }
      }
    }
  }
  return next;
}

describe("a dispute", () => {
  test("reaches every state, and nothing follows on the final ones (I30)", () => {
    const next = reachable(opened(), terms);
    expect([...next.keys()].toSorted()).toEqual([...disputeStates].toSorted());
    const ends = [...next].filter(([, states]) => states.size === 0).map(([state]) => state);
    expect(ends.toSorted()).toEqual([...finalStates].toSorted());
    for (const state of decidedStates) expect([...(next.get(state) ?? [])]).toEqual(["settled"]);
    expect([...(next.get("opened") ?? [])].toSorted()).toEqual([
      "acknowledged",
      "lapsed",
      "withdrawn",
    ]);
  });

  test("every transition of the table has a move above", () => {
    expect(moves.map(({ to }) => to).toSorted()).toEqual(Object.keys(disputeRules).toSorted());
  });

  test("without the silence rule no timer fires, all else is the same", () => {
    const next = reachable(opened(), { ...terms, silenceRule: "stays-open" });
    const expected = disputeStates.filter((each) => each !== "lapsed");
    expect([...next.keys()].toSorted()).toEqual(expected.toSorted());
  });

  const refusals: Readonly<Record<string, readonly [Move["to"], Actor, string]>> = {
    "its opener acknowledges it": [
      "acknowledged",
      "operator",
      "expected counterparty, found operator",
    ],
    "the other party withdraws it": [
      "withdrawn",
      "counterparty",
      "expected operator, found counterparty",
    ],
    "a party plays the timer": ["lapsed", "operator", "expected timer, found operator"],
    "it is settled before it is decided": ["settled", "operator", "expected accepted-by-vendor or"],
    "it is split before there is evidence": ["split", "both", "expected evidence, found opened"],
    "the timer fires too early": ["lapsed", "timer", `expected not before ${friday + 7n * dayUs}`],
  };

  for (const [name, [to, by, says]] of Object.entries(refusals)) {
    test(`is not moved when ${name}`, () => {
      const move = moves.find((each) => each.to === to) ?? { to: "settled" };
      const moved = moveDispute(opened(), move, { by, nowUs: friday, terms });
      expect(moved).toMatchObject({ kind: "refused" });
      expect(JSON.stringify(moved)).toContain(says);
    });
  }

  test("is opened within 45 days of its statement, to the microsecond", () => {
    const known = { ...about, terms };
    const last = statedUs + 45n * dayUs;
    expect(openDispute(claim(), { ...known, nowUs: last }).kind).toBe("moved");
    expect(openDispute(claim(), { ...known, nowUs: last + 1n })).toMatchObject({ reason: "time" });
  });

  test("is of money that the statement has and nobody disputes yet", () => {
    const known = { ...about, nowUs: friday, terms };
    expect(openDispute(claim(), { ...known, undisputedNano: 3_001n }).kind).toBe("moved");
    const short = openDispute(claim(), { ...known, undisputedNano: 3_000n });
    expect(short).toMatchObject({ reason: "amount" });
    // What is missing in a statement cannot be part of it.
    const missing = claim({ opener: "counterparty" });
    expect(openDispute(missing, { ...known, undisputedNano: 0n }).kind).toBe("moved");
  });

  test("of what is missing has bounds, and silence adds no more than signed claims show", () => {
    const known = { ...about, nowUs: friday, terms };
    const of = (amountNano: bigint) =>
      claim({ opener: "counterparty", items: [{ account: "exp:cogs:pool:p1", amountNano }] });
    const open = (amountNano: bigint, changes: Partial<Disputed> = {}) =>
      openDispute(of(amountNano), { ...known, ...changes });
    expect(open(missingMaxNano).kind).toBe("moved");
    expect(open(missingMaxNano + 1n)).toMatchObject({ reason: "amount" });
    expect(open(missingMaxNano, { missingNano: 1n })).toMatchObject({ reason: "amount" });
    expect(open(missingMaxNano + 1n, { evidenceNano: missingMaxNano + 1n }).kind).toBe("moved");
    expect(open(10n ** 18n, { evidenceNano: 10n ** 18n })).toMatchObject({ reason: "amount" });
    const lapse = { by: "timer", nowUs: friday + 7n * dayUs, terms } as const;
    for (const [evidenceNano, expected] of [
      [0n, 0n],
      [300n, 300n],
      [5_000n, 1_000n],
      [-5n, 0n],
    ] as const) {
      const silent = after(open(1_000n, { evidenceNano }));
      expect(after(moveDispute(silent, { to: "lapsed" }, lapse)).approvedNano).toBe(expected);
    }
  });

  test("names its items in order, once, above 0", () => {
    const [first, second] = claim().items;
    const known = { ...about, nowUs: friday, terms };
    for (const items of [[], [second, first], [first, first], [{ account: "a", amountNano: 0n }]]) {
      const some = items.filter((each) => each !== undefined);
      expect(openDispute(claim({ items: some }), known)).toMatchObject({ reason: "amount" });
    }
  });
});

describe("the timer", () => {
  const acknowledged = (): Dispute =>
    after(
      moveDispute(opened(), { to: "acknowledged" }, { by: "counterparty", nowUs: friday, terms }),
    );
  const heard = (by: "operator" | "counterparty", from = acknowledged()): Dispute =>
    after(moveDispute(from, { to: "evidence", bundles: [bundle] }, { by, nowUs: friday, terms }));

  const rows = [
    ["nobody acknowledged", opened(), 7n, "counterparty"],
    ["nobody brought evidence", acknowledged(), 30n, "operator"],
    ["only the operator did", heard("operator"), 30n, "counterparty"],
    ["only the counterparty did", heard("counterparty"), 30n, "operator"],
  ] as const;

  for (const [name, dispute, days, silent] of rows) {
    test(`fires after ${days} days where ${name}: the ${silent} loses, and once`, () => {
      const due = friday + days * dayUs;
      expect(dueOf(dispute, terms)).toBe(due);
      expect(silentParty(dispute)).toBe(silent);
      const timer = { by: "timer", terms } as const;
      const early = moveDispute(dispute, { to: "lapsed" }, { ...timer, nowUs: due - 1n });
      expect(early).toMatchObject({ reason: "time" });
      const lapsed = after(moveDispute(dispute, { to: "lapsed" }, { ...timer, nowUs: due }));
      expect(lapsed.approvedNano).toBe(silent === "operator" ? 3_001n : 0n);
      expect(dueOf(lapsed, terms)).toBeUndefined();
      const again = moveDispute(lapsed, { to: "lapsed" }, { ...timer, nowUs: due + dayUs });
      expect(again).toMatchObject({ reason: "state" });
    });

    test(`lets nobody act after it was due where ${name}, looked at or not`, () => {
      const nowUs = friday + days * dayUs;
      const late = moveDispute(dispute, { to: "withdrawn" }, { by: "operator", nowUs, terms });
      expect(late).toMatchObject({ reason: "time" });
    });
  }

  test("does not fire where both were heard: an arbiter decides", () => {
    const both = heard("counterparty", heard("operator"));
    expect(dueOf(both, terms)).toBeUndefined();
    const move = { to: "arbitrated", approvedNano: 3_001n } as const;
    const late = { by: "arbiter", nowUs: friday + 400n * dayUs, terms } as const;
    expect(after(moveDispute(both, move, late)).approvedNano).toBe(3_001n);
    const over = { ...move, approvedNano: 3_002n };
    expect(moveDispute(both, over, late)).toMatchObject({ reason: "amount" });
  });
});

/** Every way through the table by chance, as transitions that are signed, with what they move. */
function walk(
  choices: readonly number[],
  from: Partial<DisputeClaim> = {},
  how: Partial<Disputed> = {},
) {
  let nowUs = friday;
  let dispute: Dispute | undefined;
  const entries: LedgerEntry[] = [];
  const texts: string[] = [];
  const push = (by: Actor, step: Transition["step"]): void => {
    const frame = { dispute: "d1", pair: from.pair ?? pair, by, atUs: nowUs, step };
    const number = dispute?.transitions ?? 0;
    const transition = { ...frame, number, prevHash: dispute?.lastHash ?? "" };
    const moved = apply(dispute, transition, { terms, nowUs, about: { ...about, ...how } });
    if (moved.kind === "refused") return;
    const text = toTransitionText(transition);
    const next = { ...moved.dispute, lastHash: sha256(text) };
    entries.push(...disputeEntries(dispute, next, nowUs));
    texts.push(text);
    dispute = next;
  };
  const start = claim(from);
  push(start.opener, { to: "opened", claim: start });
  for (const choice of choices) {
    nowUs += BigInt(choice % 3) * 4n * dayUs + 1n;
    const move = moves[choice % moves.length];
    for (const by of actors) if (move !== undefined) push(by, move);
  }
  expect(dispute).toBeDefined();
  return { dispute: dispute ?? opened(from), entries, texts };
}

const walks = fc.array(fc.nat({ max: 899 }), { maxLength: 25 });
const sides = fc.constantFrom(
  { opener: "operator", pair },
  { opener: "counterparty", pair },
  { opener: "operator", pair: "tenant:acme" as PairId },
  { opener: "counterparty", pair: "tenant:acme" as PairId },
) as fc.Arbitrary<Pick<DisputeClaim, "opener" | "pair">>;

/** Of a vendor's payable, after its statement was closed with 10,000. */
function payables(entries: readonly LedgerEntry[]): Record<string, bigint> {
  const moved = movements(entries);
  const net = (state: Parameters<typeof payableAccount>[1]): bigint =>
    of(payableAccount(pair, state));
  const of = (account: string): bigint => {
    const key = { unit: "CNY:nano", account } as const;
    const { debit = 0n, credit = 0n } = moved.get(balanceText(key)) ?? {};
    return credit - debit;
  };
  return {
    stated: statedNano + net("stated"),
    disputed: net("disputed"),
    approved: net("approved"),
    paid: net("paid"),
    credit: of(creditAccount(pair)),
  };
}

describe("the money of a dispute", () => {
  test("is conserved, and what is not disputed is payable throughout (I7, I31)", () => {
    // What was approved or paid of the statement before it was disputed.
    const before = fc.bigInt({ min: 0n, max: statedNano });
    fc.assert(
      fc.property(walks, sides, before, (choices, side, approvedBefore) => {
        const { dispute, entries } = walk(choices, side, { openNano: statedNano - approvedBefore });
        const moved = payables(entries);
        const { stated = 0n, disputed, approved = 0n, paid = 0n } = moved;
        const isVendor = side.pair === pair;
        expect(disputed).toBe(isVendor ? standingNano([dispute]) : 0n);
        expect(stated).toBe(isVendor ? undisputedNano(statedNano, [dispute]) : statedNano);
        expect(stated).toBeGreaterThanOrEqual(approvedBefore);
        const { approvedNano, amountNano, known } = dispute;
        const had = side.opener === "operator" && isVendor ? amountNano - known.heldNano : 0n;
        const owed = isVendor && approvedNano !== undefined ? approvedNano - had : 0n;
        // What was paid already and is not owed is owed back.
        expect(approved + paid).toBe(owed > 0n ? owed : 0n);
        expect(moved["credit"]).toBe(owed < 0n ? owed : 0n);
        expect(paid).toBe(dispute.state === "settled" && owed > 0n ? owed : 0n);
        for (const { amount } of entries) expect(amount).toBeGreaterThan(0n);
      }),
      { numRuns: 1_000 },
    );
  });

  test("has one id for each entry, the same however often it is made", () => {
    fc.assert(
      fc.property(walks, sides, (choices, side) => {
        const [once, again] = [walk(choices, side), walk(choices, side)];
        expect(again.entries).toEqual(once.entries);
        expect(new Set(once.entries.map(({ id }) => id)).size).toBe(once.entries.length);
      }),
      { numRuns: 100 },
    );
  });

  test("goes back to what bore it by largest remainder", () => {
    const heard = { ...opened(), state: "evidence", heard: ["operator"] } as const;
    const options = { by: "both", nowUs: friday, terms } as const;
    const split = after(moveDispute(heard, { to: "split", num: 1n, den: 3n }, options));
    expect(effectOf(disputeEntries(heard, split, friday))).toEqual([
      {
        from: "liab:payable:vendor:northgrid:disputed",
        to: "liab:payable:vendor:northgrid:approved",
        amountNano: 1_000n,
      },
      {
        from: "liab:payable:vendor:northgrid:disputed",
        to: "exp:cogs:pool:p1",
        amountNano: 667n,
      },
      {
        from: "liab:payable:vendor:northgrid:disputed",
        to: "exp:leakage:abort",
        amountNano: 1_334n,
      },
    ]);
  });

  test("a tenant who is right has its bill reduced, and nothing moves before", () => {
    const mine = { pair: "tenant:acme" as PairId, opener: "counterparty" } as const;
    const items = [{ account: "rev:usage:qwen3-32b", amountNano: 500n }];
    const bill = opened({ ...mine, items });
    expect(disputeEntries(undefined, bill, friday)).toEqual([]);
    const heard = { ...bill, state: "evidence", heard: ["counterparty"] } as const;
    const move = { to: "accepted-by-operator" } as const;
    const right = after(moveDispute(heard, move, { by: "operator", nowUs: friday, terms }));
    expect(effectOf(disputeEntries(heard, right, friday))).toEqual([
      {
        from: "rev:usage:qwen3-32b",
        to: "asset:receivable:tenant:acme",
        amountNano: 500n,
      },
    ]);
  });
});

describe("transitions as text", () => {
  test("are read back to the byte, and their replay is the dispute", () => {
    fc.assert(
      fc.property(walks, sides, (choices, side) => {
        const { dispute, texts } = walk(choices, side);
        let again: Dispute | undefined;
        for (const text of texts) {
          const transition = fromTransitionText(text);
          expect(toTransitionText(transition)).toBe(text);
          const { known } = again ?? dispute;
          again = replayed(again, { transition, hash: sha256(text), known });
        }
        expect(again).toEqual(dispute);
      }),
      { numRuns: 300 },
    );
  });

  test("follow on each other: another number or another past is refused", () => {
    const first = { ...opened(), lastHash: "cd".repeat(32) };
    const options = { terms, nowUs: friday };
    const next = { dispute: "d1", pair, by: "counterparty", atUs: friday } as const;
    const step = { to: "acknowledged" } as const;
    const rightly = { ...next, step, number: 1, prevHash: first.lastHash };
    expect(apply(first, rightly, options).kind).toBe("moved");
    expect(apply(first, { ...rightly, number: 2 }, options)).toMatchObject({ reason: "state" });
    expect(apply(first, { ...rightly, prevHash: "" }, options)).toMatchObject({ reason: "state" });
    expect(apply(undefined, rightly, options)).toMatchObject({ reason: "state" });
  });

  test("look like this", () => {
    const { texts } = walk([0, 1, 4, 8].map((move) => move + 9 * 3));
    expect(texts.map((text) => JSON.parse(text)["to"])).toEqual([
      "opened",
      "acknowledged",
      "evidence",
      "evidence",
      "split",
      "settled",
    ]);
    expect(texts[0]).toBe(
      `{"at_us":"${friday}","by":"operator","dispute_id":"d1","items":[{"account":"exp:cogs:pool:p1",` +
        '"nano":"1000"},{"account":"exp:leakage:abort","nano":"2001"}],"number":"0","opener":"operator",' +
        '"pair_id":"vendor:northgrid","prev_hash":null,"reason":"QTY_OUTPUT",' +
        '"statement_id":"vendor:northgrid:daily:2026-11-19:0","to":"opened","type":"dispute","v":"1"}',
    );
    expect(disputeReasons).toHaveLength(16);
  });
});
