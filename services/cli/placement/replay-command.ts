import { writeFileSync } from "node:fs";
import { stripVTControlCharacters } from "node:util";
import { Command, InvalidArgumentError } from "commander";
import type { Instant } from "../../core/units.ts";
import type { Change } from "../../core/what-if.ts";
import { Replay, type Replayed } from "../../io/journal-replay.ts";
import { loadCalendar } from "../../io/preset.ts";
import { PriceBookSchema } from "../../wire/gen/tokengrid/v1/price_pb.js";
import { toPriceBook } from "../../wire/price.ts";
import {
  answered,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { readMessage } from "../document.ts";
import { durationMs } from "../duration.ts";
import { type ExitCode, exits, Failure, Refusal } from "../outcome.ts";
import { readPolicy } from "../policy/read-policy.ts";
import { rendered } from "../print.ts";
import { openReadProgress } from "./progress.ts";
import { Proof } from "./proof.ts";
import { proofJson, proofText } from "./proof-text.ts";
import { parseSelector, type Selector } from "./selector.ts";
import { folderSource, type JournalSource, serverSource } from "./source.ts";
import { Study } from "./study.ts";
import { plotSvg } from "./svg.ts";
import { type Asked, whatIfJson, whatIfText } from "./what-if-text.ts";

export interface ReplayOptions extends ServerOptions, OutputOptions {
  readonly journal?: string;
  readonly fromServer?: boolean;
  readonly since?: Instant;
  readonly until?: Instant;
  readonly policy?: string;
  readonly price?: string;
  readonly drain: readonly Selector[];
  readonly plot?: string;
  /** False by `--no-color`. */
  readonly color: boolean;
}

export function replayCommand(): Command {
  return withOutput(withServer(new Command("replay")))
    .summary("recorded decisions made again, or what if they had been made otherwise")
    .description(
      "Steps a journal again, event by event, and compares every answer with the one that was given, and the whole " +
        "state with every later image. Exits with 0 if all of it is the same, with 2 if an answer differs or a part " +
        "of the journal is lost. With --policy, --price or --drain a second dispatcher lives through the same events " +
        "with that change, and the differences are told. `-o wide` has every stretch with its digest, and all flows.",
    )
    .optionsGroup("Journal:")
    .option("--journal <folder>", "of a control replica, which may be running")
    .option("--from-server", "read it from the replica at --addr (the default without --journal)")
    .option(
      "--since <time>",
      "from then on: 2026-11-20T10:00:00+08:00, or 90m for so long ago",
      instant,
    )
    .option("--until <time>", "up to then", instant)
    .optionsGroup("What if:")
    .option("--policy <file>", "this policy had been in force")
    .option(
      "--price <file>",
      "this price book had stood in for the versions of the book with its id",
    )
    .option(
      "--drain <selector>",
      "these pools had taken no work: id=, vendor=, region=, hub=, side=, with commas between; may be repeated",
      (text: string, before: readonly Selector[]) => [...before, parseSelector(text)],
      [],
    )
    .optionsGroup("Output:")
    .option("--plot <file>", "the curves over time as a picture (SVG)")
    .option("--no-color", "no weight and no colour, also on a terminal")
    .action(exits(run));
}

function instant(text: string): Instant {
  if (/^\d+(\.\d+)?(ms|s|m|h)$/.test(text)) return Date.now() - durationMs(text);
  const isWhole = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text);
  const at = isWhole ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(at)) return at;
  throw new InvalidArgumentError(
    `expected a time such as 2026-11-20T10:00:00+08:00 or 90m, found ${JSON.stringify(text)}`,
  );
}

async function run(options: ReplayOptions): Promise<ExitCode> {
  const { proof, study, source, asked } = await answered(options, () => replayed(options));
  const text = rendered(options.output, {
    json: {
      journal: source,
      proof: proofJson(proof),
      ...(study === undefined ? {} : { whatIf: whatIfJson(study.comparison, asked) }),
    },
    names: [proof.isProven ? "proven" : "not-proven"],
    text: (isWide) =>
      [
        proofText(proof, source, isWide),
        ...(study === undefined ? [] : [whatIfText(study.comparison, asked, isWide)]),
      ].join("\n"),
  });
  process.stdout.write(options.color ? text : stripVTControlCharacters(text));
  if (study !== undefined && options.plot !== undefined) {
    writeFileSync(options.plot, plotSvg(study.comparison));
  }
  return proof.isProven ? 0 : 2;
}

interface Outcome {
  readonly proof: Proof;
  /** Undefined: nothing was to be changed. */
  readonly study: Study | undefined;
  readonly source: string;
  readonly asked: Asked;
}

/** Reads the journal once, for the proof and for the other world. Throws `Refusal` for a change that changes nothing. */
export async function replayed(options: ReplayOptions): Promise<Outcome> {
  const { since = -Infinity, until = Infinity } = options;
  const source = sourceOf(options);
  const drained = new Set<string>();
  const change = changeOf(options, drained);
  const study = Object.keys(change).length === 0 ? undefined : new Study(change, since);
  if (study === undefined && options.plot !== undefined) {
    throw new Failure(
      "--plot: expected a change to plot (--policy, --price or --drain), found none",
    );
  }
  const proof = new Proof();
  const progress = openReadProgress();
  const records = source.records(since, (done, total) =>
    progress.bytes(done, total, proof.decisions),
  );
  try {
    const replay = new Replay();
    const take = (each: Replayed): void => {
      // What is before the time is stepped, so that the state is right, and not counted.
      const isEarly = (each.kind === "step" || each.kind === "skipped") && each.event.at < since;
      if (!isEarly) proof.take(each);
      study?.take(each);
    };
    reading: for await (const batch of records) {
      for (const record of batch) {
        if (record.kind === "event" && record.event.at > until) break reading;
        replay.take(record, take);
      }
    }
  } finally {
    progress.stop();
  }
  proof.end();
  refuseUnknown({ study, change, drained, options });
  const asked = {
    policy: options.policy,
    prices: options.price,
    drained: options.drain.map(({ text }) => text),
  };
  return { proof, study, source: source.name, asked };
}

function sourceOf(options: ReplayOptions): JournalSource {
  const { journal, fromServer = false } = options;
  if (journal === undefined) return serverSource(options);
  if (!fromServer) return folderSource(journal);
  throw new Failure("placement replay: expected --journal or --from-server, found both");
}

function changeOf({ policy, price, drain }: ReplayOptions, drained: Set<string>): Change {
  return {
    ...(policy === undefined ? {} : { policy: readPolicy(policy).policy }),
    ...(price === undefined
      ? {}
      : { book: toPriceBook(readMessage(price, PriceBookSchema), calendarOf) }),
    ...(drain.length === 0
      ? {}
      : {
          isDrained: (pool) => {
            const isOut = drain.some((each) => each.matches(pool));
            if (isOut) drained.add(pool.id);
            return isOut;
          },
        }),
  };
}

function calendarOf(id: string) {
  const calendar = loadCalendar();
  return calendar.id === id ? calendar : undefined;
}

/** A name that is nowhere in the journal is a mistake, not a change without an effect. */
function refuseUnknown(found: {
  readonly study: Study | undefined;
  readonly change: Change;
  readonly drained: ReadonlySet<string>;
  readonly options: ReplayOptions;
}): void {
  const { study, change, drained, options } = found;
  const { book, isDrained } = change;
  if (study === undefined || study.comparison.recorded.decisions === 0) return;
  if (book !== undefined && !study.books.has(book.id)) {
    const known = [...study.books].join(", ");
    throw new Refusal(`--price: expected a book of the journal (${known}), found ${book.id}`);
  }
  if (isDrained !== undefined && drained.size === 0) {
    const selectors = options.drain.map(({ text }) => text).join(" and ");
    throw new Refusal(`--drain: expected pools of the journal, found none for ${selectors}`);
  }
}
