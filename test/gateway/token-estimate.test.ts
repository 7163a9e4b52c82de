import { expect, test } from "vitest";
import { parseChatRequest } from "../../services/gateway/chat-request.ts";

function estimate(...messages: readonly object[]): number {
  return parseChatRequest(Buffer.from(JSON.stringify({ model: "m", messages }))).inputTokens;
}

for (const [name, content, tokens] of [
  ["a word each", "w w w w w", 5],
  ["a quarter of the bytes of long words", "internationalization", 5],
  ["more than a third of a Chinese text's bytes", "东数西算工程", 4],
  ["words that line breaks part", "a\nb\tc", 3],
  ["at least one", "", 1],
] as const) {
  test(`the estimate of a prompt is ${name}`, () => {
    expect(estimate({ role: "user", content })).toBe(tokens);
  });
}

test("the estimate of a prompt minds neither roles nor pictures", () => {
  const picture = {
    type: "image_url",
    image_url: { url: `data:image/png;base64,${"A".repeat(9_000)}` },
  };
  expect(estimate({ role: "user", content: [{ type: "text", text: "a b" }, picture] })).toBe(2);
});
