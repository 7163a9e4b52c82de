import { parentPort, workerData } from "node:worker_threads";
import type { ModelId } from "../core/units.ts";
import type { RecountAnswer, RecountQuestion } from "./recount.ts";
import { openCounter, type TokenCounter } from "./token-counter.ts";
import { readTokenizer } from "./tokenizer-files.ts";

const folder = String(workerData);
const utf8 = new TextDecoder();
const counters = new Map<ModelId, Promise<TokenCounter>>();

async function counterOf({ model, digest }: RecountQuestion): Promise<TokenCounter> {
  const files = await readTokenizer(folder, model);
  if (files.digests.tokenizer !== digest) {
    throw new Error(`the tokenizer of ${model} is another one than when the gateway was started`);
  }
  return openCounter(files);
}

async function answerTo(question: RecountQuestion): Promise<RecountAnswer> {
  const { id, model, texts, body } = question;
  try {
    const opening = counters.get(model) ?? counterOf(question);
    counters.set(model, opening);
    const counter = await opening;
    const output = texts.reduce((sum, text) => sum + counter.tokens(utf8.decode(text)), 0);
    const prompt = body && counter.promptTokens(utf8.decode(body));
    return { id, kind: "counted", output, prompt };
  } catch (error) {
    counters.delete(model);
    // Never the text itself, which a parser's message may quote.
    const problem = error instanceof SyntaxError ? "a file or a request is no JSON" : String(error);
    return { id, kind: "failed", problem };
  }
}

let last = Promise.resolve();
parentPort?.on("message", (question: RecountQuestion) => {
  last = last.then(async () => parentPort?.postMessage(await answerTo(question)));
});
