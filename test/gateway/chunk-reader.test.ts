import fc from "fast-check";
import { expect, test } from "vitest";
import { ChunkReader } from "../../services/gateway/chunk-reader.ts";
import type { ChunkRewrite } from "../../services/gateway/chunk-rewrite.ts";
import { AnswerMeter } from "../../services/gateway/meter.ts";
import { answerOf, chunk, event, usageChunk } from "./raw-pool.ts";

const hidden: ChunkRewrite = { alias: "chat", usage: "none", isShown: true };

/** What a client is shown and what is counted, for a stream that arrives in these packets. */
function readAll(packets: readonly Buffer[], rewrite: ChunkRewrite = hidden) {
  const meter = new AnswerMeter("vllm", new Set());
  const reader = new ChunkReader(
    {
      text: (choice, kind, bytes) => meter.observeText(choice, kind, bytes),
      chunk: (each) => meter.observeChunk(each),
      usage: (usage) => meter.observeUsage(usage, false),
    },
    rewrite,
  );
  let shown = "";
  for (const packet of packets) {
    shown += reader.read(packet);
    meter.settle();
  }
  return {
    shown: Buffer.from(shown, "latin1").toString("utf8"),
    isDone: reader.isDone,
    problem: reader.problem?.kind,
    counts: meter.usage.counts,
    deltas: meter.deltas,
    isFinished: meter.isFinished,
    evidence: meter.evidence(0),
  };
}

function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const cuts = [0, ...places.toSorted((one, other) => one - other), bytes.length];
  return cuts.slice(1).map((end, index) => bytes.subarray(cuts[index] ?? 0, end));
}

const words = ["Hello", " wörld", ' "quoted"', " 你好", "\n", "\\", " 🙂", ""];

const streams = {
  plain: answerOf(...words)
    .map(event)
    .join(""),
  "with running counts": [
    chunk({ role: "assistant", content: "" }),
    ...words.map((content, index) => ({
      ...chunk({ content }),
      usage: { prompt_tokens: 7, completion_tokens: index + 1, total_tokens: index + 8 },
    })),
    { ...chunk({}, "stop"), usage: { prompt_tokens: 7, completion_tokens: 8, total_tokens: 15 } },
    usageChunk(7, 8),
    "[DONE]",
  ]
    .map(event)
    .join(""),
  "with CRLF, comments and ids": answerOf(...words)
    .map((payload, index) => `: note\r\nid: ${index}\r\n${event(payload).replaceAll("\n", "\r\n")}`)
    .join(""),
  "with CR alone": answerOf(...words)
    .map((payload) => event(payload).replaceAll("\n", "\r"))
    .join("")
    .concat("\n"),
  "without a space": answerOf(...words)
    .map((payload) => event(payload).replace("data: ", "data:"))
    .join(""),
  "with escapes and reasoning": [
    String.raw`{"model":"engine/model","choices":[{"index":0,"delta":{"reasoning_content":"h\u00e9"},"finish_reason":null}]}`,
    String.raw`{"model":"engine/model","choices":[{"index":0,"delta":{"reasoning_content":"abc"},"finish_reason":null}]}`,
    String.raw`{"model":"engine/model","choices":[{"index":0,"delta":{"content":"\"model\":\"engine/model\""},"finish_reason":null}]}`,
    chunk({ tool_calls: [{ index: 0, function: { name: "f", arguments: '{"a":1}' } }] }),
    chunk({}, "tool_calls"),
    "[DONE]",
  ]
    .map(event)
    .join(""),
};

for (const [name, text] of Object.entries(streams)) {
  const bytes = Buffer.from(text);
  const whole = readAll([bytes]);

  test(`ChunkReader reads a stream ${name} cut at every byte as if it came in one piece`, () => {
    expect([whole.isDone, whole.isFinished, whole.problem]).toEqual([true, true, undefined]);
    for (let at = 0; at <= bytes.length; at++) {
      expect(readAll(cutAt(bytes, [at])), `cut at ${at}`).toEqual(whole);
    }
  });

  test(`ChunkReader reads a stream ${name} in packets of any size as if it came in one piece`, () => {
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 40 }), (places) => {
        expect(readAll(cutAt(bytes, places))).toEqual(whole);
      }),
    );
    expect(readAll([...bytes].map((byte) => Buffer.from([byte])))).toEqual(whole);
  });
}

test("ChunkReader shows each event as it came, but for the model's name, and hides the counts", () => {
  const { shown } = readAll([Buffer.from(streams.plain)]);
  const expected = answerOf(...words)
    .slice(0, -2)
    .map((payload) => event(payload).replace("engine/model", "chat"))
    .join("");
  expect(shown).toBe(expected);
});

test("ChunkReader shows the same whatever the engine says of running counts", () => {
  const { shown } = readAll([Buffer.from(streams["with running counts"])]);
  expect(shown).toBe(readAll([Buffer.from(streams.plain)]).shown);
});

test("ChunkReader shows the counts once, in a chunk of their own, to who asked for them", () => {
  const { shown } = readAll([Buffer.from(streams["with running counts"])], {
    ...hidden,
    usage: "final",
  });
  const usages = shown.match(/"usage":(null|\{[^}]*\})/g) ?? [];
  expect(usages.filter((usage) => usage !== '"usage":null')).toEqual([
    '"usage":{"prompt_tokens":7,"completion_tokens":8,"total_tokens":15}',
  ]);
  expect(shown.trimEnd().split("\n\n").at(-1)).toContain('"choices":[],"usage":{');
});

test("ChunkReader changes the model's name where it is a member, never where it is text", () => {
  const { shown } = readAll([Buffer.from(streams["with escapes and reasoning"])]);
  expect(shown).toContain(String.raw`"content":"\"model\":\"engine/model\""`);
  expect(shown.match(/"model":"chat"/g)?.length).toBe(5);
});

test("ChunkReader takes a member error that is null out of a chunk", () => {
  const { shown } = readAll([Buffer.from(event({ error: null, ...chunk({ content: "a" }) }))]);
  expect(shown).toBe(event(chunk({ content: "a" })).replace("engine/model", "chat"));
});

for (const [problem, bytes] of [
  ["error-event", event({ error: { message: "no" } })],
  ["error-event", event({ object: "error", message: "no" })],
  ["not-json", "data: {\n\n"],
  ["line-too-long", `data: ${"x".repeat(1024 * 1024)}`],
] as const) {
  test(`ChunkReader says ${problem} of ${JSON.stringify(bytes.slice(0, 40))}`, () => {
    const packets = [Buffer.from(event(chunk({ content: "a" })) + bytes)];
    expect(readAll(packets)).toMatchObject({ problem, deltas: 1 });
  });
}

test("ChunkReader minds nothing after the end but counts", () => {
  const after =
    event({ error: { message: "late" } }) + event(usageChunk(7, 2)) + "data: nonsense\n\n";
  const stream = [chunk({ content: "a" }), chunk({}, "stop"), "[DONE]"].map(event).join("");
  const { shown, problem, counts } = readAll([Buffer.from(stream + after)]);
  expect([problem, shown.includes("late"), counts.output]).toEqual([undefined, false, 2n]);
});
