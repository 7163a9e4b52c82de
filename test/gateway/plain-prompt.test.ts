import { expect, test } from "vitest";
import { parseChatRequest } from "../../services/gateway/chat-request.ts";

function isPlain(request: object): boolean {
  const body = { model: "m", messages: [{ role: "user", content: "hi" }], ...request };
  return parseChatRequest(Buffer.from(JSON.stringify(body))).isPlain;
}

function asking(content: unknown): object {
  return { messages: [{ role: "user", content }] };
}

const tool = { type: "function", function: { name: "f", parameters: { type: "object" } } };
const call = { id: "1", type: "function", function: { name: "f", arguments: "{}" } };

const plain: Readonly<Record<string, object>> = {
  "a text": {},
  "parts of text": asking([{ type: "text", text: "hi", cache_control: { type: "ephemeral" } }]),
  "a tool of the caller": { tools: [tool] },
  "no tools": { tools: null },
  "a schema of the answer": { response_format: { type: "json_object" } },
  "calls of tools and what they gave": {
    messages: [
      { role: "assistant", content: null, tool_calls: [call], reasoning_content: "so" },
      { role: "tool", tool_call_id: "1", content: "done" },
    ],
  },
  "a search that is off": { enable_search: false },
};

for (const [name, request] of Object.entries(plain)) {
  test(`the bytes of a request bound its tokens with ${name}`, () => {
    expect(isPlain(request)).toBe(true);
  });
}

const other: Readonly<Record<string, object>> = {
  "a picture by address": asking([{ type: "image_url", image_url: { url: "https://a.example" } }]),
  "a picture inside": asking([
    { type: "image_url", image_url: { url: "data:image/png;base64,AA" } },
  ]),
  "a picture without a type": asking([{ image_url: "https://a.example" }]),
  sound: asking([{ type: "input_audio", input_audio: { data: "AA", format: "wav" } }]),
  "a file": asking([{ type: "file", file: { file_id: "f-1" } }]),
  "a part that nobody knows": asking([{ type: "hologram", text: "hi" }]),
  "a tool of the engine": { tools: [tool, { type: "web_search" }] },
  "a template of its own": { chat_template: "{% for i in range(9999) %}x{% endfor %}" },
  "a search": { enable_search: true },
  "options of a search": { web_search_options: {} },
};

for (const [name, request] of Object.entries(other)) {
  test(`the bytes of a request bound nothing with ${name}`, () => {
    expect(isPlain(request)).toBe(false);
  });
}
