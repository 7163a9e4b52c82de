import { pino, type Logger } from "pino";

export type Log = Logger;

/**
 * One JSON object per line on standard error. What could hold a prompt, an answer or a credential is never
 * passed in; the redaction is the second lock.
 */
export function openLog(options: {
  readonly role: string;
  readonly level: "debug" | "info" | "warn" | "error" | "silent";
  readonly onMessage?: (level: string) => void;
}): Log {
  const { role, level, onMessage } = options;
  return pino(
    {
      level,
      base: { role },
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
    pino.destination({ fd: 2, sync: false }),
  );
}
