import type { InstantUs } from "../../core/units.ts";
import { Counter, Gauge, type Registry } from "../../io/metrics.ts";

/** How a witness answered. */
const askResults = ["signed", "refused", "unreachable"] as const;
type AskResult = (typeof askResults)[number];

/** A log that no witness has signed for so long is an alarm. */
const waitAlarmUs = 60_000_000n;
const usPerSecond = 1_000_000;

/** What the sealer tells about itself. */
export class SealerMetrics {
  readonly #checkpoints: Counter;
  readonly #asked: Counter<"result">;
  readonly #unwitnessedSeconds: Gauge;
  readonly #unwitnessed: Gauge;
  readonly #refused: Gauge;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#checkpoints = new Counter({
      name: "tokengrid_log_checkpoints_total",
      help: "Checkpoints signed, of all logs",
      registers,
    });
    this.#asked = new Counter({
      name: "tokengrid_log_witness_requests_total",
      help: "Witnesses asked for a signature, by what they answered",
      labelNames: ["result"] as const,
      registers,
    });
    this.#unwitnessedSeconds = new Gauge({
      name: "tokengrid_log_unwitnessed_seconds",
      help: "How long leaves have waited for a witness, in the log that has waited longest",
      registers,
    });
    this.#unwitnessed = new Gauge({
      name: "tokengrid_log_unwitnessed_logs",
      help: "Logs that have waited for a witness for more than 60 s",
      registers,
    });
    this.#refused = new Gauge({
      name: "tokengrid_log_refused_logs",
      help: "Logs for which nothing is signed: more was signed or seen, another root, or by another key",
      registers,
    });
    for (const result of askResults) this.#asked.inc({ result }, 0);
  }

  onCheckpoint(): void {
    this.#checkpoints.inc();
  }

  onAsked(result: AskResult): void {
    this.#asked.inc({ result });
  }

  onState(state: { readonly waitsUs: readonly InstantUs[]; readonly refused: number }): void {
    const { waitsUs, refused } = state;
    const longestUs = waitsUs.reduce((most, wait) => (wait > most ? wait : most), 0n);
    this.#unwitnessedSeconds.set(Number(longestUs) / usPerSecond);
    this.#unwitnessed.set(waitsUs.filter((wait) => wait > waitAlarmUs).length);
    this.#refused.set(refused);
  }
}
