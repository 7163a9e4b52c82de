import { expect, test } from "vitest";
import { answerBytesMax, Assembler, AnswerTooLargeError } from "../../services/gateway/assemble.ts";
import type { JsonObject } from "../../services/gateway/json-value.ts";

const head = { id: "c1", object: "chat.completion.chunk", created: 1, model: "engine/model" };

function assembled(...choices: readonly object[]): JsonObject {
  const assembler = new Assembler();
  for (const choice of choices) {
    assembler.addChunk({ ...head, choices: [{ index: 0, finish_reason: null, ...choice }] });
  }
  return JSON.parse(assembler.toJson("chat")) as JsonObject;
}

/** Pieces of an answer and what they are together. */
const answers: Readonly<Record<string, [object[], object]>> = {
  "texts are joined": [
    [
      { delta: { role: "assistant", content: "" } },
      { delta: { content: "a" } },
      { delta: { content: "b" }, finish_reason: "stop" },
    ],
    { message: { role: "assistant", content: "ab", refusal: null }, finish_reason: "stop" },
  ],
  "reasoning is joined beside the text": [
    [
      { delta: { reasoning_content: "hm" } },
      { delta: { reasoning_content: "m" } },
      { delta: { content: "a" } },
    ],
    { message: { role: "assistant", content: "a", refusal: null, reasoning_content: "hmm" } },
  ],
  "a refusal is no content": [
    [{ delta: { refusal: "No" } }, { delta: { refusal: "." } }],
    { message: { role: "assistant", content: null, refusal: "No." } },
  ],
  "calls of tools are joined by their index": [
    [
      {
        delta: {
          tool_calls: [
            { index: 0, id: "t0", type: "function", function: { name: "f", arguments: "" } },
          ],
        },
      },
      { delta: { tool_calls: [{ index: 0, function: { arguments: '{"a":' } }] } },
      {
        delta: {
          tool_calls: [
            { index: 1, id: "t1", type: "function", function: { name: "g", arguments: "{}" } },
          ],
        },
      },
      {
        delta: { tool_calls: [{ index: 0, function: { arguments: "1}" } }] },
        finish_reason: "tool_calls",
      },
    ],
    {
      message: {
        role: "assistant",
        content: null,
        refusal: null,
        tool_calls: [
          { id: "t0", type: "function", function: { name: "f", arguments: '{"a":1}' } },
          { id: "t1", type: "function", function: { name: "g", arguments: "{}" } },
        ],
      },
      finish_reason: "tool_calls",
    },
  ],
  "log probabilities are listed in order": [
    [
      {
        delta: { content: "a" },
        logprobs: { content: [{ token: "a", logprob: -1 }], refusal: null },
      },
      {
        delta: { content: "b" },
        logprobs: { content: [{ token: "b", logprob: -2 }], refusal: null },
      },
    ],
    {
      logprobs: {
        content: [
          { token: "a", logprob: -1 },
          { token: "b", logprob: -2 },
        ],
        refusal: null,
      },
    },
  ],
  "members that nobody knows are kept": [
    [
      { delta: { content: "a", annotations: [1] }, stop_reason: 7 },
      { delta: { annotations: [2] } },
    ],
    {
      message: { role: "assistant", content: "a", refusal: null, annotations: [1, 2] },
      stop_reason: 7,
    },
  ],
};

for (const [name, [pieces, expected]] of Object.entries(answers)) {
  test(`Assembler: ${name}`, () => {
    expect(assembled(...pieces)).toMatchObject({
      id: "c1",
      object: "chat.completion",
      model: "chat",
      choices: [{ index: 0, ...expected }],
    });
  });
}

test("Assembler puts choices in the order of their index, and both ways of adding text together", () => {
  const assembler = new Assembler();
  assembler.addChunk({ ...head, choices: [{ index: 1, delta: { content: "x" } }] });
  assembler.addChunk({ ...head, choices: [{ index: 0, delta: { role: "assistant" } }] });
  assembler.addText(0, "content", Buffer.from("é").toString("latin1"));
  assembler.addText(1, "content", "y");
  assembler.addUsage({ prompt_tokens: 1 });
  const answer = JSON.parse(assembler.toJson("chat")) as JsonObject;
  expect(answer).toMatchObject({
    choices: [{ message: { content: "é" } }, { message: { content: "xy" } }],
    usage: { prompt_tokens: 1 },
  });
});

test("Assembler holds an answer up to its limit", () => {
  const assembler = new Assembler();
  expect(() => {
    for (let bytes = 0; bytes <= answerBytesMax; bytes += 1024 * 1024) {
      assembler.addText(0, "content", "x".repeat(1024 * 1024));
    }
  }).toThrow(AnswerTooLargeError);
});

test("Assembler counts what stands in chunks that are more than plain text", () => {
  const assembler = new Assembler();
  const delta = { content: "\n".repeat(1024 * 1024) };
  expect(() => {
    for (let bytes = 0; bytes <= answerBytesMax; bytes += delta.content.length) {
      assembler.addChunk({ ...head, choices: [{ index: 0, delta }] });
    }
  }).toThrow(AnswerTooLargeError);
});

test("Assembler refuses what is nested too deep to be written again", () => {
  const deep: unknown = JSON.parse(`${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}`);
  const assembler = new Assembler();
  expect(() => assembler.addChunk({ ...head, extra: deep, choices: [] })).toThrow(
    AnswerTooLargeError,
  );
  expect(() => assembler.addUsage({ details: deep })).toThrow(AnswerTooLargeError);
});

test("Assembler leaves the chunks that it was given as they are", () => {
  const assembler = new Assembler();
  const chunk = { ...head, choices: [{ index: 0, delta: { annotations: [1] } }] };
  for (const _turn of [1, 2]) assembler.addChunk(chunk);
  expect(chunk.choices[0]?.delta.annotations).toEqual([1]);
  expect(assembler.toJson("chat")).toContain('"annotations":[1,1]');
});
