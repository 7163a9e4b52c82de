import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { complaintOf, exitCodeOf, Failure, Refusal } from "../../services/cli/outcome.ts";
import { ConfigError } from "../../services/io/config.ts";

const thrown: readonly (readonly [what: string, error: unknown, code: number, text: string])[] = [
  ["a refusal", new Refusal("no"), 2, "no"],
  [
    "a bad file",
    new ConfigError("a.yaml", ["x: expected 1", "y: bad"]),
    2,
    "a.yaml:\n  x: expected 1\n  y: bad",
  ],
  ["a failure", new Failure("nobody there"), 1, "nobody there"],
  [
    "a value refused",
    new ConnectError("tenant_id is empty", Code.InvalidArgument),
    2,
    "invalid argument: tenant_id is empty",
  ],
  ["a thing unknown", new ConnectError("pool x", Code.NotFound), 2, "not found: pool x"],
  ["a revision moved on", new ConnectError("revision 3", Code.Aborted), 2, "aborted: revision 3"],
  ["no rights", new ConnectError("no key", Code.Unauthenticated), 1, "unauthenticated: no key"],
  ["no server", new ConnectError("refused", Code.Unavailable), 1, "unavailable: refused"],
  ["a file missing", Object.assign(new Error("ENOENT: x"), { code: "ENOENT" }), 1, "ENOENT: x"],
];

for (const [what, error, code, text] of thrown) {
  test(`${what} exits with ${code} and says so in words`, () => {
    expect([exitCodeOf(error), complaintOf(error)]).toEqual([code, text]);
  });
}

test("complaintOf() shows where a bug is", () => {
  expect(complaintOf(new TypeError("x is not a function"))).toContain("outcome.test.ts");
});

test("every code of RPC has an exit code", () => {
  const codes = Object.values(Code).filter((code) => typeof code === "number");
  expect(
    codes.map((code) => exitCodeOf(new ConnectError("", code))).every((code) => code > 0),
  ).toBe(true);
  expect(codes).toHaveLength(16);
});
