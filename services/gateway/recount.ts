import { randomInt } from "node:crypto";
import { Worker } from "node:worker_threads";
import type { ModelId } from "../core/units.ts";
import type { Log } from "../io/log.ts";
import { AnswerText, TextBudget } from "./answer-text.ts";
import type { UnnumberedRecord } from "./spool.ts";
import type { PromptCount } from "./token-counter.ts";
import { modelsIn, readTokenizer, type TokenizerDigests } from "./tokenizer-files.ts";

/** What a worker is asked. */
export interface RecountQuestion {
  readonly id: number;
  readonly model: ModelId;
  /** Of the tokenizer, which must be the one that the record names. */
  readonly digest: string;
  readonly texts: readonly Uint8Array[];
  /** Of the request; undefined where more than its text was sent. */
  readonly body: Uint8Array | undefined;
}

export type RecountAnswer =
  | {
      readonly id: number;
      readonly kind: "counted";
      readonly output: number;
      readonly prompt: PromptCount | undefined;
    }
  | { readonly id: number; readonly kind: "failed"; readonly problem: string };

export type RecountOutcome =
  | Omit<Extract<RecountAnswer, { readonly kind: "counted" }>, "id">
  /** Then the gateway's estimate stands, and says that it is one. */
  | { readonly kind: "estimated"; readonly why: RecountFailure };

export type RecountFailure = "too-long" | "queue-full" | "late" | "failed";

export interface RecountLimits {
  /** A record waits no longer for its count. */
  readonly deadlineMs: number;
  /** Then the thread is given up, and another one started. */
  readonly runMs: number;
  readonly jobsMax: number;
  readonly bytesMax: number;
}

export const defaultRecountLimits: RecountLimits = {
  deadlineMs: 2_000,
  runMs: 10_000,
  jobsMax: 256,
  bytesMax: 64 * 1024 * 1024,
};

const million = 1_000_000;

interface Job {
  readonly question: RecountQuestion;
  readonly bytes: number;
  readonly deadline: NodeJS.Timeout;
  resolve(outcome: RecountOutcome): void;
}

/**
 * Counts again, with the model's own tokenizer and on a thread of its own: where an engine did not count, and of a
 * random part of all answers. Who asks never waits longer than the deadline.
 */
export class Recounter {
  readonly #options: RecounterOptions;
  readonly #digests: ReadonlyMap<ModelId, TokenizerDigests>;
  readonly #budget = new TextBudget();
  readonly #queue: Job[] = [];
  #queuedBytes = 0;
  #asked = 0;
  #running: Job | undefined;
  #stuck: NodeJS.Timeout | undefined;
  #worker: Worker | undefined;
  #isClosed = false;

  constructor(options: RecounterOptions, digests: ReadonlyMap<ModelId, TokenizerDigests>) {
    this.#options = options;
    this.#digests = digests;
  }

  digestsOf(model: ModelId): TokenizerDigests | undefined {
    return this.#digests.get(model);
  }

  /** Where the text of an answer of the model is kept; undefined where nothing could count it. */
  textOf(model: ModelId): AnswerText | undefined {
    return this.#digests.has(model) ? new AnswerText(this.#budget) : undefined;
  }

  get keptBytes(): number {
    return this.#budget.taken;
  }

  /** Something the engine should have counted is missing, or it is the turn of this one to be looked at. */
  isDue({ engineCounts, flags, firstByteUs }: UnnumberedRecord): boolean {
    if (firstByteUs === undefined) return false;
    const isMissing = engineCounts.input === undefined || engineCounts.output === undefined;
    if (isMissing || flags.includes("usage-malformed")) return true;
    // Not by the attempt's id, which the pool is told.
    return randomInt(million) < this.#options.auditPpm;
  }

  count(model: ModelId, text: AnswerText, body: Uint8Array | undefined): Promise<RecountOutcome> {
    const { texts } = text;
    const digest = this.#digests.get(model)?.tokenizer;
    if (texts === undefined || digest === undefined) return estimated("too-long");
    const bytes = texts.reduce((sum, each) => sum + each.length, body?.length ?? 0);
    const { jobsMax, bytesMax, deadlineMs } = this.#options.limits;
    const isFull = this.#queue.length >= jobsMax || this.#queuedBytes + bytes > bytesMax;
    if (isFull || this.#isClosed) return estimated("queue-full");
    this.#asked += 1;
    // A view would be sent with all of the memory that it is a view of.
    const question = {
      id: this.#asked,
      model,
      digest,
      texts: texts.map((each) => new Uint8Array(each)),
      body: body && new Uint8Array(body),
    };
    return new Promise((resolve) => {
      const deadline = setTimeout(() => this.#late(job), deadlineMs);
      const job: Job = { question, bytes, deadline, resolve };
      this.#queue.push(job);
      this.#queuedBytes += bytes;
      this.#next();
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const job of this.#queue.splice(0)) settle(job, { kind: "estimated", why: "failed" });
    if (this.#running !== undefined) {
      settle(this.#running, { kind: "estimated", why: "failed" });
      this.#running = undefined;
    }
    clearTimeout(this.#stuck);
    await this.#worker?.terminate();
  }

  #next(): void {
    if (this.#running !== undefined || this.#isClosed) return;
    const job = this.#queue.shift();
    if (job === undefined) return;
    this.#queuedBytes -= job.bytes;
    this.#running = job;
    this.#stuck = setTimeout(() => this.#replace("ran for too long"), this.#options.limits.runMs);
    this.#stuck.unref();
    const { texts, body } = job.question;
    const moved = [...texts, ...(body ? [body] : [])].map(({ buffer }) => buffer as ArrayBuffer);
    this.#worker ??= this.#start();
    this.#worker.postMessage(job.question, moved);
  }

  #start(): Worker {
    const worker = new Worker(new URL("./recount-worker.ts", import.meta.url), {
      workerData: this.#options.folder,
    });
    worker.unref();
    worker.on("message", (answer: RecountAnswer) => this.#onAnswer(answer));
    worker.on("error", (error) => this.#replace(String(error), worker));
    return worker;
  }

  #onAnswer(answer: RecountAnswer): void {
    const job = this.#running;
    if (job?.question.id !== answer.id) return;
    this.#running = undefined;
    clearTimeout(this.#stuck);
    if (answer.kind === "counted") {
      const { id: _id, ...counted } = answer;
      settle(job, counted);
    } else {
      this.#options.log.warn({ model: job.question.model, problem: answer.problem }, "not counted");
      settle(job, { kind: "estimated", why: "failed" });
    }
    this.#next();
  }

  /** A thread that died, or does not come back, costs the one record that it was at. */
  #replace(problem: string, died = this.#worker): void {
    if (died === undefined || died !== this.#worker) return;
    const job = this.#running;
    this.#worker = undefined;
    this.#running = undefined;
    clearTimeout(this.#stuck);
    this.#options.log.error({ model: job?.question.model, problem }, "a recount was given up");
    died.terminate().catch(() => undefined);
    if (job !== undefined) settle(job, { kind: "estimated", why: "failed" });
    this.#next();
  }

  #late(job: Job): void {
    const at = this.#queue.indexOf(job);
    if (at >= 0) {
      this.#queue.splice(at, 1);
      this.#queuedBytes -= job.bytes;
    }
    settle(job, { kind: "estimated", why: "late" });
  }
}

function estimated(why: RecountFailure): Promise<RecountOutcome> {
  return Promise.resolve({ kind: "estimated", why });
}

function settle(job: Job, outcome: RecountOutcome): void {
  clearTimeout(job.deadline);
  job.resolve(outcome);
}

/** The record with what was counted again. An estimate stays what it is, and says so. */
export function recounted(record: UnnumberedRecord, outcome: RecountOutcome): UnnumberedRecord {
  if (outcome.kind === "estimated") return record;
  const { prompt } = outcome;
  const output = BigInt(outcome.output);
  const { gatewayCounts, flags } = record;
  // What a prompt with pictures comes to no tokenizer says: then the weaker of both names the source.
  if (prompt === undefined) return { ...record, gatewayCounts: { ...gatewayCounts, output } };
  return {
    ...record,
    gatewayCounts: { source: "tokenizer", input: BigInt(prompt.tokens), output },
    flags: prompt.hasTemplate ? flags : [...flags, "template-unknown" as const].toSorted(),
  };
}

export interface RecounterOptions {
  /** With a folder for each model, see `TokenizerFiles`. */
  readonly folder: string;
  /** Of a million answers that were counted well, so many are counted again. */
  readonly auditPpm: number;
  readonly limits: RecountLimits;
  readonly log: Log;
}

/** A model whose files cannot be read has no recount, and the log says why. Throws if there is no such folder. */
export async function openRecounter(options: RecounterOptions): Promise<Recounter> {
  const { folder, log } = options;
  const digests = new Map<ModelId, TokenizerDigests>();
  for (const model of await modelsIn(folder)) {
    try {
      const files = await readTokenizer(folder, model);
      digests.set(model, files.digests);
    } catch (error) {
      log.error({ model, error: String(error) }, "a tokenizer cannot be used");
    }
  }
  return new Recounter(options, digests);
}
