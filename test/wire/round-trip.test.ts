import { fromBinary, toBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  AttemptOutcomeSchema,
  PlaceRequestSchema,
  PlaceResponseSchema,
} from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import { PolicyDocumentSchema } from "../../services/wire/gen/tokengrid/v1/policy_pb.js";
import {
  FigureSchema,
  PoolRegistrationSchema,
  ReportRequestSchema,
} from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import {
  fromAttemptOutcome,
  fromPlaceOutcome,
  fromPlacementRequest,
  toAttemptOutcome,
  toPlaceOutcome,
  toPlacementRequest,
} from "../../services/wire/placement.ts";
import { fromPolicyText, toPolicyText } from "../../services/wire/policy.ts";
import {
  fromFigure,
  fromPoolRegistration,
  fromPoolReport,
  toFigure,
  toPoolRegistration,
  toPoolReport,
} from "../../services/wire/pool.ts";
import { fromPriceBook, toPriceBook } from "../../services/wire/price.ts";
import * as any from "./arbitraries.ts";

/** As bytes, so that nothing survives which the wire does not carry. */
function overTheWire<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
): MessageShape<Desc> {
  return fromBinary(schema, toBinary(schema, message));
}

function survives<Value>(
  title: string,
  values: fc.Arbitrary<Value>,
  thereAndBack: (value: Value) => Value,
): void {
  test(`${title} is the same after the wire`, () => {
    fc.assert(
      fc.property(values, (value) => {
        expect(thereAndBack(value)).toEqual(value);
      }),
    );
  });
}

survives("a figure", any.figure, (figure) =>
  toFigure(overTheWire(FigureSchema, fromFigure(figure, any.now)), any.now),
);

survives("a pool registration", any.registration, (registration) => {
  const message = fromPoolRegistration(registration, any.now);
  return toPoolRegistration(overTheWire(PoolRegistrationSchema, message), any.now);
});

survives("a pool report", any.report, (report) =>
  toPoolReport(overTheWire(ReportRequestSchema, fromPoolReport(report, any.now)), any.now),
);

survives("a placement request", any.request, (request) =>
  toPlacementRequest(overTheWire(PlaceRequestSchema, fromPlacementRequest(request))),
);

survives("a placement or why there is none", any.outcome, (outcome) =>
  toPlaceOutcome(overTheWire(PlaceResponseSchema, fromPlaceOutcome(outcome))),
);

survives("the outcome of an attempt", any.attemptOutcome, (outcome) =>
  toAttemptOutcome(overTheWire(AttemptOutcomeSchema, fromAttemptOutcome(outcome))),
);

survives("a price book", any.priceBook, (book) =>
  toPriceBook(overTheWire(PriceBookSchema, fromPriceBook(book)), () => any.calendar),
);

test("a policy's text is the same after the wire", () => {
  const policy = {
    revision: 3,
    yaml: "a: 1\n",
    hash: "00",
    author: "li",
    comment: "",
    setAtUs: 9n,
  };
  expect(toPolicyText(overTheWire(PolicyDocumentSchema, fromPolicyText(policy)))).toEqual(policy);
});

test("toFigure() counts the age from the receipt, whatever the sender's clock says", () => {
  const sent = fromFigure({ value: 1, source: "measured", observedAt: 990, validMs: 50 }, 1_000);
  expect(sent.ageMs).toBe(10);
  expect(toFigure(sent, 77_000).observedAt).toBe(76_990);
});

test("fromFigure() never gives a negative age or one that the wire cannot carry", () => {
  const figure = { value: 1, source: "measured", validMs: 50 } as const;
  expect(fromFigure({ ...figure, observedAt: 1_500 }, 1_000).ageMs).toBe(0);
  expect(fromFigure({ ...figure, observedAt: -1e15 }, 1_000).ageMs).toBe(2 ** 32 - 1);
});
