import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { ModelId } from "../../services/core/units.ts";
import { AnswerText, recountBytesMax, TextBudget } from "../../services/gateway/answer-text.ts";
import { AnswerMeter } from "../../services/gateway/meter.ts";
import {
  defaultRecountLimits,
  openRecounter,
  type Recounter,
  type RecountLimits,
} from "../../services/gateway/recount.ts";
import { openCounter, type TokenCounter } from "../../services/gateway/token-counter.ts";
import { readTokenizer } from "../../services/gateway/tokenizer-files.ts";
import {
  EngineCountSource,
  GatewayCountSource,
  type UsageRecord,
} from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { log } from "./control-fixture.ts";
import { openTestGateway, type TestGateway } from "./gateway-fixture.ts";
import { answerOf, chunk, usageChunk } from "./raw-pool.ts";

const open = "open/model" as ModelId;
const plain = "plain" as ModelId;
const openAi = "model-1" as ModelId;
const broken = "broken" as ModelId;

/** Splits at spaces and marks; every word it does not know is one token. */
const tokenizer = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: ["<|im_start|>", "<|im_end|>"].map((content, index) => ({
    id: index + 1,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: null,
  pre_tokenizer: { type: "Whitespace" },
  post_processor: null,
  decoder: null,
  model: {
    type: "WordLevel",
    vocab: { "<unk>": 0, "<|im_start|>": 1, "<|im_end|>": 2, user: 3, assistant: 4, hi: 5 },
    unk_token: "<unk>",
  },
};

const chatMl =
  "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}" +
  "{% if tools %}{{ raise_exception('no tools') }}{% endif %}" +
  "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tokenizers-"));
  await put(open, "tokenizer.json", JSON.stringify(tokenizer));
  await put(open, "tokenizer_config.json", JSON.stringify({ chat_template: chatMl }));
  await put(plain, "tokenizer.json", JSON.stringify(tokenizer));
  await put(openAi, "encoding", "o200k_base\n");
  await put(broken, "encoding", "o900k");
});
afterAll(() => rm(folder, { recursive: true }));

async function put(model: ModelId, name: string, text: string): Promise<void> {
  const path = join(folder, encodeURIComponent(model));
  await mkdir(path, { recursive: true });
  await writeFile(join(path, name), text);
}

async function counterOf(model: ModelId): Promise<TokenCounter> {
  return openCounter(await readTokenizer(folder, model));
}

describe("openCounter()", () => {
  test("counts a whole text by the model's own tokenizer", async () => {
    expect((await counterOf(open)).tokens("hi there hi")).toBe(3);
    expect((await counterOf(openAi)).tokens("hello world")).toBe(2);
  });

  test("counts what looks like a mark as the text that it is", async () => {
    expect((await counterOf(openAi)).tokens("a <|endoftext|> b")).toBeGreaterThan(3);
  });

  test("counts a prompt as the model's chat template writes it", async () => {
    const body = JSON.stringify({
      messages: [
        { role: "user", content: "hi" },
        { role: "user", content: [{ type: "text", text: "hi" }] },
      ],
    });
    // Two of four, and two before the answer.
    expect((await counterOf(open)).promptTokens(body)).toEqual({ tokens: 10, hasTemplate: true });
  });

  test("counts the texts, and says so, where there is no template or it cannot take the request", async () => {
    const messages = [{ role: "user", content: "hi there" }];
    const tools = [{ type: "function", function: { name: "f" } }];
    const plainCount = { tokens: 2 + 4 + 3, hasTemplate: false };
    expect((await counterOf(plain)).promptTokens(JSON.stringify({ messages }))).toEqual(plainCount);
    const refused = (await counterOf(open)).promptTokens(JSON.stringify({ messages, tools }));
    expect(refused.hasTemplate).toBe(false);
    expect(refused.tokens).toBeGreaterThan(plainCount.tokens);
  });

  test("says which names of encodings it knows", async () => {
    await expect(counterOf(broken)).rejects.toThrow("encoding: expected one of cl100k_base");
  });
});

test("a recount does not depend on how the text was cut (I19)", async () => {
  const counter = await counterOf(openAi);
  const text = "The quick brown 狐狸 jumps over 13 lazy dogs; naïve café — 完成。\n".repeat(3);
  const bytes = Buffer.from(text).toString("latin1");
  fc.assert(
    fc.property(fc.array(fc.nat(bytes.length), { maxLength: 40 }), (places) => {
      const kept = new AnswerText(new TextBudget());
      const meter = new AnswerMeter("vllm", new Set(), kept);
      let at = 0;
      for (const place of [...places, bytes.length].toSorted((one, other) => one - other)) {
        meter.observeText(0, "content", bytes.slice(at, place));
        if (place % 2 === 0) meter.settle();
        at = place;
      }
      meter.settle();
      const whole = (kept.texts ?? []).map((each) => Buffer.from(each).toString());
      expect(whole).toEqual([text]);
    }),
    { numRuns: 50 },
  );
  expect(counter.tokens(text)).toBe(countTokens(text));
});

describe("AnswerText", () => {
  test("keeps each choice's text of each kind apart", () => {
    const text = new AnswerText(new TextBudget());
    text.add(0, "reasoning", "why ");
    text.add(1, "content", "b");
    text.add(0, "content", "a");
    text.add(0, "reasoning", "not");
    const texts = (text.texts ?? []).map((each) => Buffer.from(each).toString());
    expect(texts).toEqual(["why not", "b", "a"]);
  });

  test("keeps no more than its bound, and then nothing", () => {
    const budget = new TextBudget();
    const text = new AnswerText(budget);
    text.add(0, "content", "x".repeat(recountBytesMax));
    expect(text.texts).toHaveLength(1);
    text.add(0, "content", "x");
    expect(text.texts).toBeUndefined();
    expect(budget.taken).toBe(0);
  });

  test("shares a bound with all others, and gives back what it took", () => {
    const budget = new TextBudget(3_000);
    const [one, other] = [new AnswerText(budget), new AnswerText(budget)];
    one.add(0, "content", "x".repeat(2_000));
    other.add(0, "content", "x".repeat(2_000));
    expect([one.texts?.length, other.texts]).toEqual([1, undefined]);
    one.free();
    one.free();
    expect(budget.taken).toBe(0);
  });
});

let recounter: Recounter | undefined;
let gateway: TestGateway | undefined;
afterEach(async () => {
  await recounter?.close();
  await gateway?.close();
  [recounter, gateway] = [undefined, undefined];
});

async function opened(limits: Partial<RecountLimits> = {}): Promise<Recounter> {
  recounter = await openRecounter({
    folder,
    auditPpm: 0,
    limits: { ...defaultRecountLimits, deadlineMs: 60_000, ...limits },
    log,
  });
  return recounter;
}

function textOf(opened: Recounter, words: string): AnswerText {
  const text = opened.textOf(openAi);
  if (text === undefined) throw new Error("expected a tokenizer for the model");
  text.add(0, "content", words);
  return text;
}

describe("Recounter", () => {
  test("has the models whose files it can read, by name", async () => {
    const recounter = await opened();
    expect(recounter.digestsOf(open)).toEqual({
      tokenizer: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      chatTemplate: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
    expect(recounter.digestsOf(openAi)?.chatTemplate).toBeUndefined();
    expect(recounter.digestsOf(broken)).toBeUndefined();
    expect(recounter.textOf("unheard" as ModelId)).toBeUndefined();
  });

  test("counts on another thread, many at once, each its own", async () => {
    const recounter = await opened();
    const counts = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        recounter.count(openAi, textOf(recounter, "hello ".repeat(index + 1)), undefined),
      ),
    );
    expect(counts).toEqual(
      Array.from({ length: 20 }, (_, index) => ({
        kind: "counted",
        output: countTokens("hello ".repeat(index + 1)),
        prompt: undefined,
      })),
    );
  });

  test("answers by its deadline, counted or not", async () => {
    const recounter = await opened({ deadlineMs: 0 });
    const text = textOf(recounter, "hello ".repeat(100_000));
    expect(await recounter.count(openAi, text, undefined)).toEqual({
      kind: "estimated",
      why: "late",
    });
  });

  test("takes no more than its queue holds, in jobs and in bytes", async () => {
    const few = await opened({ jobsMax: 0 });
    const full = { kind: "estimated", why: "queue-full" };
    expect(await few.count(openAi, textOf(few, "a"), undefined)).toEqual(full);
    await few.close();
    const small = await opened({ bytesMax: 1 });
    expect(await small.count(openAi, textOf(small, "ab"), undefined)).toEqual(full);
  });

  test("a thread that hangs costs the record that it was at, and no other", async () => {
    const recounter = await opened({ runMs: 1 });
    const slow = recounter.count(openAi, textOf(recounter, "hello ".repeat(150_000)), undefined);
    expect(await slow).toEqual({ kind: "estimated", why: "failed" });
  });

  test("a body that cannot be read is a count that failed", async () => {
    const recounter = await opened();
    const count = recounter.count(openAi, textOf(recounter, "a"), Buffer.from("{"));
    expect(await count).toEqual({ kind: "estimated", why: "failed" });
    const next = await recounter.count(openAi, textOf(recounter, "a"), undefined);
    expect(next).toMatchObject({ kind: "counted", output: 1 });
  });

  test("a tokenizer that was exchanged under its feet does not count", async () => {
    const recounter = await opened();
    await put(openAi, "encoding", "cl100k_base");
    const count = await recounter.count(openAi, textOf(recounter, "a"), undefined);
    await put(openAi, "encoding", "o200k_base");
    expect(count).toEqual({ kind: "estimated", why: "failed" });
  });
});

const text = "Counting again, by the whole text: 总计 three.";
const pieces = text.split(/(?<=[, ])/);

/** An answer in pieces, and what the engine says of it. */
async function recordAfter(
  said: readonly unknown[],
  options: Parameters<typeof openTestGateway>[1] = {},
  body: object = {},
): Promise<UsageRecord> {
  gateway = await openTestGateway(
    [
      (call) => {
        call.head();
        for (const content of pieces) call.events(chunk({ content }));
        call.events(chunk({}, "stop"), ...said, "[DONE]");
        call.end();
      },
    ],
    { tokenizersPath: folder, ...options },
  );
  const answer = await (await gateway.chat({ stream: true, ...body })).text();
  expect(answer.endsWith("data: [DONE]\n\n")).toBe(true);
  const [record] = (await gateway.records(1)).values();
  if (record === undefined) throw new Error("expected a record, found none");
  return record;
}

describe("a gateway with tokenizers", () => {
  test("counts the whole text where the engine counted nothing, and says with what", async () => {
    const record = await recordAfter([]);
    expect(record).toMatchObject({
      engSource: EngineCountSource.NONE,
      gwSource: GatewayCountSource.TOKENIZER,
      gwOutput: BigInt(countTokens(text)),
      gwInput: BigInt(countTokens("hi") + 4 + 3),
      flags: ["template_unknown"],
      tokenizerDigest: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
    expect(record.gwOutput).not.toBe(BigInt(pieces.length));
    expect(record.chatTemplateDigest).toBeUndefined();
    const recounts = gateway?.metrics.getSingleMetric("tokengrid_metering_recounts_total");
    expect((await recounts?.get())?.values).toContainEqual(
      expect.objectContaining({ labels: { result: "counted" }, value: 1 }),
    );
  });

  test("counts the output alone of a prompt with pictures, and stays an estimate", async () => {
    const url = { url: "https://pictures.example/1.png" };
    const messages = [{ role: "user", content: [{ type: "image_url", image_url: url }] }];
    expect(await recordAfter([], {}, { messages })).toMatchObject({
      gwSource: GatewayCountSource.HEURISTIC,
      gwOutput: BigInt(countTokens(text)),
      flags: [],
    });
  });

  test("does not count what the engine counted well", async () => {
    const record = await recordAfter([usageChunk(7, 9)]);
    expect(record).toMatchObject({
      engOutput: 9n,
      gwSource: GatewayCountSource.HEURISTIC,
      gwOutput: BigInt(pieces.length),
    });
  });

  test("looks at a part of what was counted well", async () => {
    const record = await recordAfter([usageChunk(7, 9)], { auditPpm: 1_000_000 });
    expect(record).toMatchObject({
      engOutput: 9n,
      gwSource: GatewayCountSource.TOKENIZER,
      gwOutput: BigInt(countTokens(text)),
    });
  });

  test("falls back to its estimate where the count would hold the record up", async () => {
    const recountLimits = { ...defaultRecountLimits, deadlineMs: 0 };
    expect(await recordAfter([], { recountLimits })).toMatchObject({
      gwSource: GatewayCountSource.HEURISTIC,
      gwOutput: BigInt(pieces.length),
    });
  });
});

test("a gateway without tokenizers estimates, and names no tokenizer", async () => {
  const record = await recordAfter([], { tokenizersPath: "" });
  expect(record).toMatchObject({ gwSource: GatewayCountSource.HEURISTIC });
  expect(record.tokenizerDigest).toBeUndefined();
});

test("nothing of an answer is kept once it is recorded", async () => {
  gateway = await openTestGateway(
    [
      (call) => {
        call.head();
        call.events(...answerOf("secret-of-the-answer"));
        call.end();
      },
    ],
    { tokenizersPath: folder, auditPpm: 1_000_000 },
  );
  await (await gateway.chat()).text();
  const [record] = (await gateway.records(1)).values();
  const said = JSON.stringify(record, (_key, value: unknown) =>
    typeof value === "bigint" ? String(value) : value,
  );
  expect(said).not.toContain("secret-of-the-answer");
});
