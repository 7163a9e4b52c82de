import { pino, type DestinationStream, type Logger } from "pino";

export type Log = Logger;

/**
 * One JSON object per line on standard error. What could hold a prompt, an answer or a credential is never
 * passed in; the redaction is the second lock.
 */
export function openLog(options: {
  readonly role: string;
  readonly level: "debug" | "info" | "warn" | "error" | "silent";
  readonly onMessage?: (level: string) => void;
  /** Where lines go; standard error if not given. */
  readonly destination?: DestinationStream;
}): Log {
  const { role, level, onMessage } = options;
  return pino(
    {
      level,
      base: { role },
      serializers: { error: (error: unknown) => toErrorMembers(error) },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: [
        "authorization",
        "*.authorization",
        "headers",
        "*.headers",
        "body",
        "*.body",
        "messages",
        "*.messages",
        "prompt",
        "*.prompt",
      ],
      hooks: {
        logMethod(args, method, number) {
          onMessage?.(pino.levels.labels[number] ?? "info");
          method.apply(this, args);
        },
      },
    },
    options.destination ?? pino.destination({ fd: 2, sync: false }),
  );
}

/** Causes of causes that are told. */
const causesMax = 4;

/**
 * An error as a log has it: its members are not enumerable, so that JSON of it would be empty. Only these: what
 * else hangs on an error, such as a request's body, stays out.
 */
function toErrorMembers(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return error;
  const { name, message, stack, cause } = error;
  const code = "code" in error ? error.code : undefined;
  return {
    name,
    message,
    ...(typeof code === "string" || typeof code === "number" ? { code } : {}),
    ...(depth === 0 ? { stack } : {}),
    ...(cause === undefined || depth >= causesMax
      ? {}
      : { cause: toErrorMembers(cause, depth + 1) }),
  };
}
