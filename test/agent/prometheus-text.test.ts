import fc from "fast-check";
import { expect, test } from "vitest";
import { parsePrometheus, prometheusLimits } from "../../services/agent/prometheus-text.ts";

const all = (): boolean => true;

/** A line → name, labels, value, time. */
const lines: readonly (readonly [string, readonly unknown[]])[] = [
  ["up 1", ["up", {}, 1, undefined]],
  ["vllm:x_total 1.5e3", ["vllm:x_total", {}, 1_500, undefined]],
  ['a{b="c"} 2', ["a", { b: "c" }, 2, undefined]],
  ['a{b="c",d="e",} 2', ["a", { b: "c", d: "e" }, 2, undefined]],
  ['a{ b = "c" , d="e" } 2 1700000000123', ["a", { b: "c", d: "e" }, 2, 1_700_000_000_123]],
  ['a{b="x\\"y\\\\z\\n}"} 3', ["a", { b: 'x"y\\z\n}' }, 3, undefined]],
  ["a{} +Inf", ["a", {}, Infinity, undefined]],
  ['a_bucket{le="+Inf"} 7 # {trace_id="q"} 0.5 1.2', ["a_bucket", { le: "+Inf" }, 7, undefined]],
  ["a 5\r", ["a", {}, 5, undefined]],
];

for (const [line, expected] of lines) {
  test(`parsePrometheus() reads ${JSON.stringify(line)}`, () => {
    const [sample] = parsePrometheus(`# HELP a b\n# TYPE a gauge\n\n${line}\n`, all);
    const labels = Object.fromEntries(sample?.labels ?? []);
    expect([sample?.name, labels, sample?.value, sample?.atMs]).toEqual(expected);
  });
}

test("a value that is not a number is unknown, not 0", () => {
  expect(parsePrometheus("a NaN\nb 0\n", all).map(({ name }) => name)).toEqual(["b"]);
});

const malformed = ["a", "a{b=c} 1", 'a{b="c} 1', "a one", 'a{b="c" d="e"} 1', "{} 1 2 3"];

for (const line of malformed) {
  test(`parsePrometheus() refuses ${JSON.stringify(line)}`, () => {
    expect(() => parsePrometheus(line, all)).toThrow('expected name{label="value"} number');
  });
}

test("what nobody wants is not even read", () => {
  expect(parsePrometheus("bad{ line\na 1", (name) => name === "a").length).toBe(1);
});

test("more samples, labels or characters than we keep are refused", () => {
  const many = "a 1\n".repeat(prometheusLimits.samplesMax + 1);
  expect(() => parsePrometheus(many, all)).toThrow("expected at most 20000 samples");
  const labels = Array.from({ length: 33 }, (_, index) => `l${index}="x"`).join(",");
  expect(() => parsePrometheus(`a{${labels}} 1`, all)).toThrow("expected at most 32 labels");
  const long = `a{b="${"x".repeat(9_000)}"} 1`;
  expect(() => parsePrometheus(long, all)).toThrow("expected lines of at most 8192 characters");
});

test("labels come back as they were written, whatever is in them", () => {
  const escaped = (text: string): string =>
    text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  const value = fc.string({ unit: "grapheme", maxLength: 40 }).filter((text) => !/[\r]/.test(text));
  fc.assert(
    fc.property(value, (text) => {
      const [sample] = parsePrometheus(`a{b="${escaped(text)}"} 1`, all);
      expect(sample?.labels.get("b")).toBe(text);
    }),
  );
});
