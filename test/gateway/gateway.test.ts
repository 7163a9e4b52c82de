import { afterEach, expect, test } from "vitest";
import { openTestGateway, type TestGateway } from "./gateway-fixture.ts";
import { answering } from "./raw-pool.ts";

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

test("a chat request that is not streamed gets one whole answer under the alias", async () => {
  gateway = await openTestGateway([answering("Hello", " world")]);
  const response = await gateway.chat();
  if (response.status !== 200) console.log(await response.text());
  expect([response.status, response.headers.get("content-type")]).toEqual([
    200,
    "application/json; charset=utf-8",
  ]);
  expect(await response.json()).toEqual({
    id: "chatcmpl-1",
    object: "chat.completion",
    created: 1_795_000_000,
    model: "chat",
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: "Hello world", refusal: null },
        logprobs: null,
        finish_reason: "stop",
      },
    ],
    usage: { prompt_tokens: 7, completion_tokens: 2, total_tokens: 9 },
  });
  const [record] = [...(await gateway.records(1)).values()];
  expect(record).toMatchObject({ engInput: 7n, engOutput: 2n, outBytes: 11n, winner: true });
});
