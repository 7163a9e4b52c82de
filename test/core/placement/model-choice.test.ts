import fc from "fast-check";
import { expect, test } from "vitest";
import { decide } from "../../../services/core/placement/decide.ts";
import { explain } from "../../../services/core/placement/explain.ts";
import { chooseModel } from "../../../services/core/placement/model-choice.ts";
import type { ModelChoice } from "../../../services/core/placement/request.ts";
import type { Pool } from "../../../services/core/pool.ts";
import type { ModelId } from "../../../services/core/units.ts";
import { policy, poolServing, price, request, snapshot } from "../fixtures.ts";

const models = ["best", "good", "fair"] as const;

/** What is true of the one pool of a model. */
interface Offer {
  readonly isServed: boolean;
  readonly version: string;
  readonly nanoPerToken: number;
  readonly hasRoom: boolean;
}

function poolOf(model: string, { version, nanoPerToken, hasRoom }: Offer): Pool {
  const pico = nanoPerToken * 1_000;
  const each = price({ uncachedInputPicoPerToken: pico, outputPicoPerToken: pico });
  const served = { model: model as ModelId, version, price: each };
  return poolServing(`${model}-pool`, served, { share: hasRoom ? 1 : 0 });
}

const offer: fc.Arbitrary<Offer> = fc.record({
  isServed: fc.integer({ min: 0, max: 4 }).map((draw) => draw > 0),
  version: fc.constantFrom("1", "2"),
  nanoPerToken: fc.constantFrom(1_000, 2_000, 4_000),
  hasRoom: fc.boolean(),
});

const choice = fc.record({
  version: fc.constantFrom(undefined, undefined, "1"),
  inputNanoPerTokenMax: fc.constantFrom(undefined, 1_999, 2_000),
  outputNanoPerTokenMax: fc.constantFrom(undefined, 4_000),
  isAllowed: fc.integer({ min: 0, max: 3 }).map((draw) => draw > 0),
});

test("the chosen model is the first that is allowed, is served in that version, fits its cap and has room", () => {
  fc.assert(
    fc.property(
      fc.tuple(offer, offer, offer),
      fc.tuple(choice, choice, choice),
      (offers, wanted) => {
        const pools = models.flatMap((model, index) => {
          const each = offers[index];
          return each?.isServed === true ? [poolOf(model, each)] : [];
        });
        const choices = models.map((model, index): ModelChoice => {
          const { version, inputNanoPerTokenMax, outputNanoPerTokenMax, isAllowed } =
            wanted[index] ?? expect.unreachable();
          return {
            model: model as ModelId,
            version,
            inputNanoPerTokenMax,
            outputNanoPerTokenMax,
            isAllowed,
          };
        });
        const expected = models.findIndex((_, index) => {
          const [each, want] = [offers[index], wanted[index]];
          if (each === undefined || want === undefined) return expect.unreachable();
          return (
            want.isAllowed &&
            each.isServed &&
            each.hasRoom &&
            (want.version ?? each.version) === each.version &&
            each.nanoPerToken <= (want.inputNanoPerTokenMax ?? Infinity) &&
            each.nanoPerToken <= (want.outputNanoPerTokenMax ?? Infinity)
          );
        });
        const asked = request({ alias: "chat", choices });
        const decision = chooseModel(asked, (each) => decide(each, snapshot(pools), policy()));
        const { passedOver = [] } = decision.request;
        expect(decision.kind === "placed" ? decision.model : undefined).toBe(models[expected]);
        if (decision.kind === "placed") {
          expect(decision.pool).toBe(`${models[expected]}-pool`);
          expect(passedOver.map(({ model }) => model)).toEqual(models.slice(0, expected));
        } else {
          // The one that answers for all is not among the others.
          const all = [...passedOver.map(({ model }) => String(model)), decision.model];
          const known = all.filter((model) => model !== "");
          expect(known.toSorted()).toEqual([...models].toSorted());
        }
        for (const { model, reason } of passedOver) {
          const index = models.findIndex((each) => each === model);
          expect(reason === "not-allowed").toBe(wanted[index]?.isAllowed === false);
        }
      },
    ),
    { numRuns: 500 },
  );
});

const free: Omit<ModelChoice, "model"> = {
  version: undefined,
  inputNanoPerTokenMax: undefined,
  outputNanoPerTokenMax: undefined,
  isAllowed: true,
};

test("an explanation says which models were wanted more, and why they do not serve", () => {
  const choices = [
    { ...free, model: "secret" as ModelId, isAllowed: false },
    { ...free, model: "best" as ModelId, inputNanoPerTokenMax: 1_000 },
    { ...free, model: "good" as ModelId },
    { ...free, model: "fair" as ModelId },
  ];
  const common = { isServed: true, version: "1" };
  const pools = [
    poolOf("secret", { ...common, nanoPerToken: 1, hasRoom: true }),
    poolOf("best", { ...common, nanoPerToken: 2_000, hasRoom: true }),
    poolOf("good", { ...common, nanoPerToken: 2_000, hasRoom: false }),
    poolOf("fair", { ...common, nanoPerToken: 2_000, hasRoom: true }),
  ];
  const asked = request({ alias: "chat", choices, classSource: "service_tier=flex" });
  const decision = chooseModel(asked, (each) => decide(each, snapshot(pools), policy()));
  expect(decision).toMatchObject({ kind: "placed", model: "fair" });
  const lines = explain(decision).split("\n");
  expect(lines.filter((line) => /^(class|chat|passed)/.test(line))).toEqual([
    "class llm-interactive from service_tier=flex",
    "chat stands for fair here",
    "passed over secret: not-allowed",
    "passed over best: no-eligible-pool (alias-price-cap 1)",
    "passed over good: no-eligible-pool (no-capacity 1)",
  ]);
});

test("a list of which nothing is allowed is served by nothing, whatever the request names", () => {
  const choices = [{ ...free, model: "best" as ModelId, isAllowed: false }];
  const pool = poolOf("best", { isServed: true, version: "1", nanoPerToken: 1, hasRoom: true });
  const asked = request({ model: "best" as ModelId, alias: "chat", choices });
  const decision = chooseModel(asked, (each) => decide(each, snapshot([pool]), policy()));
  expect(decision).toMatchObject({ kind: "unplaceable", reason: "model-not-found" });
});
