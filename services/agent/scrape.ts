import type { Figure } from "../core/figure.ts";
import type { ModelReport, ServedModel } from "../core/pool.ts";
import type { Instant } from "../core/units.ts";
import { GrowingTotal, HistogramReader, quantile, type Interval } from "./counters.ts";
import {
  dialects,
  namesOf,
  type BesideFigures,
  type CounterName,
  type Dialect,
  type DialectName,
  type GaugeName,
} from "./dialects.ts";
import { fetchText } from "./fetch-text.ts";
import { parsePrometheus, ScrapeError, type Sample } from "./prometheus-text.ts";

export interface ScrapeOptions {
  readonly metricsUrl: string;
  readonly dialect: DialectName;
  readonly models: readonly ServedModel[];
  /** Key of the engine, where it guards its metrics. */
  readonly engineKey?: string | undefined;
  /** How long a figure may be believed in full. */
  readonly validMs: number;
  readonly now: () => Instant;
}

/** Reads one engine's metrics again and again, and says of each model what can be known. */
export class Scraper {
  readonly #options: ScrapeOptions;
  readonly #dialect: Dialect;
  readonly #names: ReadonlySet<string>;
  readonly #readers: readonly ModelReader[];

  constructor(options: ScrapeOptions) {
    this.#options = options;
    this.#dialect = dialects[options.dialect];
    this.#names = namesOf(this.#dialect);
    const isAlone = options.models.length === 1;
    this.#readers = options.models.map(
      (model) =>
        new ModelReader({ model, dialect: this.#dialect, isAlone, validMs: options.validMs }),
    );
  }

  /** Throws a `ScrapeError` when the engine does not answer, or with what cannot be read. */
  async scrape(signal: AbortSignal): Promise<readonly ModelReport[]> {
    const { metricsUrl, engineKey, now } = this.#options;
    // When it was asked, not when it answered: a figure is never younger than it says.
    const observedAt = now();
    const text = await fetchText(metricsUrl, { engineKey, signal });
    const samples = parsePrometheus(text, (name) => this.#names.has(name));
    if (samples.length === 0) {
      throw new ScrapeError(`expected metrics of ${this.#options.dialect}, found none of them`);
    }
    const beside = await this.#beside(signal);
    return this.#readers.map((reader) => reader.read(samples, beside, observedAt));
  }

  /** What is not there is unknown: an engine may keep the document to itself. */
  async #beside(signal: AbortSignal): Promise<BesideFigures | undefined> {
    const { beside } = this.#dialect;
    if (beside === undefined) return undefined;
    const { metricsUrl, engineKey } = this.#options;
    const url = new URL(metricsUrl);
    url.pathname = url.pathname.replace(/\/metrics$/, beside.path);
    try {
      return beside.read(JSON.parse(await fetchText(url.href, { engineKey, signal })));
    } catch (error) {
      if (error instanceof ScrapeError || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }
}

/** What is remembered of one model from scrape to scrape. */
class ModelReader {
  readonly #model: ServedModel;
  readonly #dialect: Dialect;
  readonly #isAlone: boolean;
  readonly #validMs: number;
  readonly #totals: Readonly<Record<CounterName, GrowingTotal>> = {
    promptTokensTotal: new GrowingTotal(),
    cachedPromptTokensTotal: new GrowingTotal(),
    outputTokensTotal: new GrowingTotal(),
  };
  readonly #histograms = new Map<string, HistogramReader>();
  readonly #decode = { seconds: new GrowingTotal(), tokens: new GrowingTotal() };
  #decodedBefore: { readonly seconds: number; readonly tokens: number } | undefined;
  /** Kept with their age while nothing new comes: an idle engine has no newer ones. */
  #times: Pick<ModelReport, "ttftMsP50" | "ttftMsP95" | "itlMsMean"> = {
    ttftMsP50: undefined,
    ttftMsP95: undefined,
    itlMsMean: undefined,
  };

  constructor(options: {
    readonly model: ServedModel;
    readonly dialect: Dialect;
    /** The pool's only model, so that what names none is its. */
    readonly isAlone: boolean;
    readonly validMs: number;
  }) {
    this.#model = options.model;
    this.#dialect = options.dialect;
    this.#isAlone = options.isAlone;
    this.#validMs = options.validMs;
  }

  read(
    samples: readonly Sample[],
    beside: BesideFigures | undefined,
    observedAt: Instant,
  ): ModelReport {
    const own = samples.filter((sample) => this.#isOwn(sample));
    const at = (value: number | undefined): Figure | undefined => this.#figure(value, observedAt);
    const gauge = (name: GaugeName): number | undefined => this.#gauge(name, own);
    const total = (name: CounterName): Figure | undefined => at(this.#total(name, own));
    this.#readTimes(own, observedAt);
    return {
      model: this.#model.model,
      runningRequests: at(gauge("runningRequests")),
      waitingRequests: at(gauge("waitingRequests")),
      kvUsedRatio: at(gauge("kvUsedRatio") ?? beside?.kvUsedRatio),
      kvTokensTotal: at(gauge("kvTokensTotal") ?? beside?.kvTokensTotal),
      slotsTotal: at(beside?.slotsTotal),
      promptTokensTotal: total("promptTokensTotal"),
      cachedPromptTokensTotal: total("cachedPromptTokensTotal"),
      outputTokensTotal: total("outputTokensTotal"),
      ...this.#times,
    };
  }

  #isOwn({ labels }: Sample): boolean {
    const { modelLabel, partLabels } = this.#dialect;
    if (partLabels.some((label) => (labels.get(label) ?? "0") !== "0")) return false;
    const name = modelLabel === undefined ? undefined : labels.get(modelLabel);
    return name === undefined ? this.#isAlone : name === this.#model.engineModelName;
  }

  #gauge(name: GaugeName, own: readonly Sample[]): number | undefined {
    const gauge = this.#dialect.gauges[name];
    const samples = gauge === undefined ? [] : firstOf(gauge.names, own);
    return gauge === undefined || samples.length === 0 ? undefined : gauge.reduce(samples);
  }

  /** Undefined when one of its parts is not there. */
  #total(name: CounterName, own: readonly Sample[]): number | undefined {
    const parts = this.#dialect.counters[name].map((names) => firstOf(names, own));
    if (parts.some((part) => part.length === 0)) return undefined;
    return this.#totals[name].add(parts.flat());
  }

  #readTimes(own: readonly Sample[], observedAt: Instant): void {
    const { histograms } = this.#dialect;
    const at = (seconds: number | undefined): Figure | undefined =>
      this.#figure(seconds === undefined ? undefined : seconds * 1_000, observedAt);
    const ttft = this.#interval(histograms.ttft, own);
    const itl = this.#interval(histograms.itl, own);
    const itlSeconds = itl === undefined ? this.#secondsPerToken(own) : itl.sum / itl.count;
    this.#times = {
      ttftMsP50: ttft === undefined ? this.#times.ttftMsP50 : at(quantile(ttft, 0.5)),
      ttftMsP95: ttft === undefined ? this.#times.ttftMsP95 : at(quantile(ttft, 0.95)),
      itlMsMean: at(itlSeconds) ?? this.#times.itlMsMean,
    };
  }

  #interval(names: readonly string[], own: readonly Sample[]): Interval | undefined {
    const name = names.find((each) => own.some((sample) => sample.name === `${each}_count`));
    if (name === undefined) return undefined;
    const reader = this.#histograms.get(name) ?? new HistogramReader(name);
    this.#histograms.set(name, reader);
    const suffixes = [`${name}_bucket`, `${name}_sum`, `${name}_count`];
    return reader.read(own.filter((sample) => suffixes.includes(sample.name)));
  }

  #secondsPerToken(own: readonly Sample[]): number | undefined {
    const names = this.#dialect.secondsPerToken;
    if (names === undefined) return undefined;
    const now = {
      seconds: this.#decode.seconds.add(firstOf([names.seconds], own)),
      tokens: this.#decode.tokens.add(firstOf([names.tokens], own)),
    };
    const before = this.#decodedBefore;
    this.#decodedBefore = now;
    if (before === undefined || now.tokens === before.tokens) return undefined;
    return (now.seconds - before.seconds) / (now.tokens - before.tokens);
  }

  /** A number below 0 is no figure of ours, and neither is one that is infinite. */
  #figure(value: number | undefined, observedAt: Instant): Figure | undefined {
    if (value === undefined || !Number.isFinite(value) || value < 0) return undefined;
    return { value, source: "measured", observedAt, validMs: this.#validMs };
  }
}

/** Samples of the first name that is there: some versions have both the old and the new one. */
function firstOf(names: readonly string[], samples: readonly Sample[]): readonly Sample[] {
  for (const name of names) {
    const found = samples.filter((sample) => sample.name === name);
    if (found.length > 0) return found;
  }
  return [];
}
