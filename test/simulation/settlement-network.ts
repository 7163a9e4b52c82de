import type { Transport } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { goodWeather, type Traps, type Weather } from "./settlement-crashes.ts";
import { never, type Process, type Run } from "./settlement-time.ts";

/** How long a caller waits for an answer. */
const answerMsMax = 3_000;
/** Calls that the bus still has and may deliver again. */
const remembered = 20;

type Receiver<Served> = () => { readonly process: Process; readonly served: Served } | undefined;

/**
 * What is between the parties: a bus that takes what it is given and delivers it, once, twice, late, out of order or not
 * at all.
 */
export class Network {
  readonly #run: Run;
  readonly #traps: Traps;
  weather: Weather = goodWeather;
  /** Nobody hears of anybody whose process is named here. */
  readonly cut = new Set<string>();
  /** Messages on their way, with what ends their wait. */
  readonly #onTheWay = new Set<{ isLost: boolean }>();
  readonly #old: (() => Promise<unknown>)[] = [];

  constructor(run: Run, traps: Traps) {
    this.#run = run;
    this.#traps = traps;
  }

  /** The bus restarts, and has forgotten what it took. */
  forget(): void {
    for (const message of this.#onTheWay) message.isLost = true;
    this.#old.length = 0;
  }

  /** Messages of long ago come again. */
  storm(): void {
    for (const again of this.#old) {
      this.#run.timeline.after(this.#run.between(1, 2_000), () => {
        this.#run.spawn(async () => again().catch(() => undefined));
      });
    }
  }

  async call<Served, Answer>(
    caller: Process,
    receiver: Receiver<Served>,
    work: (served: Served) => Promise<Answer>,
  ): Promise<Answer> {
    const { weather } = this;
    const message = { isLost: this.#run.isDrawn(weather.lost) };
    const deliver = async (): Promise<Answer> => this.#deliver(caller, receiver, work);
    const isDoubled = this.#run.isDrawn(weather.doubled);
    const delayMs = this.#delayMs();
    const againMs = delayMs + this.#run.between(0, 5_000);
    this.#onTheWay.add(message);
    if (isDoubled) {
      this.#run.timeline.after(againMs, () => {
        this.#run.spawn(async () => deliver().catch(() => undefined));
      });
    }
    const answer = Promise.withResolvers<Answer>();
    // Who has died meanwhile does not hear that nobody answered.
    answer.promise.catch(() => undefined);
    this.#run.timeline.after(delayMs, () => {
      this.#onTheWay.delete(message);
      if (message.isLost) {
        if (this.#traps.hit("C7")) this.#run.note("the bus forgot a message that it had taken");
        return;
      }
      this.#old.push(deliver);
      if (this.#old.length > remembered) this.#old.shift();
      deliver().then(answer.resolve, answer.reject);
    });
    this.#run.timeline.after(answerMsMax, () => {
      answer.reject(new ConnectError("no answer in time", Code.DeadlineExceeded));
    });
    return caller.alive(async () => answer.promise);
  }

  async #deliver<Served, Answer>(
    caller: Process,
    receiver: Receiver<Served>,
    work: (served: Served) => Promise<Answer>,
  ): Promise<Answer> {
    const found = receiver();
    if (found?.process.isAlive !== true || this.#isCut(caller, found.process)) {
      throw new ConnectError("nobody listens", Code.Unavailable);
    }
    const outcome = await found.process.alive(async () => work(found.served));
    if (this.#run.isDrawn(this.weather.answerLost)) return never();
    await this.#wait(this.#delayMs());
    return outcome;
  }

  #isCut(one: Process, other: Process): boolean {
    return this.cut.has(one.name) || this.cut.has(other.name);
  }

  #delayMs(): number {
    const isLate = this.#run.isDrawn(this.weather.late);
    return isLate ? this.#run.between(500, 20_000) : this.#run.between(1, 30);
  }

  async #wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#run.timeline.after(ms, resolve));
  }

  /** RPC over this network. Somebody in the middle shows a checkpoint of long ago now and then. */
  transport(caller: Process, receiver: Receiver<Transport>): Transport {
    const shown = new Map<string, unknown>();
    return {
      unary: async (method, signal, _timeoutMs, header, input, values) => {
        const answer = await this.call(caller, receiver, async (served) =>
          // The time that an answer may take passes here, not at a clock of the machine.
          served.unary(method, signal, undefined, header, input, values),
        );
        if (method.name !== "GetCheckpoint") return answer;
        const old = shown.get(method.name) as typeof answer | undefined;
        if (old === undefined) shown.set(method.name, answer);
        return old !== undefined && this.#run.isDrawn(this.weather.doubled) ? old : answer;
      },
      stream: async () => {
        throw new ConnectError("expected no streams", Code.Unimplemented);
      },
    };
  }
}

/** Nobody listens, or nobody answered: to be asked again. */
export function isUnavailable(error: unknown): boolean {
  const codes: readonly Code[] = [Code.Unavailable, Code.DeadlineExceeded];
  return error instanceof ConnectError && codes.includes(error.code);
}
