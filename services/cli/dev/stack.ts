type Close = () => Promise<void> | void;

/** Closes in the opposite order of opening, all of it, also if something fails on the way. */
export interface Stack {
  push(name: string, close: Close): void;
  /** What is being closed now; undefined before and after. */
  readonly closing: string | undefined;
  close(): Promise<void>;
}

export function openStack(): Stack {
  const parts: { readonly name: string; readonly close: Close }[] = [];
  let closing: string | undefined;
  return {
    push: (name, close) => {
      parts.push({ name, close });
    },
    get closing() {
      return closing;
    },
    close: async () => {
      const faults: unknown[] = [];
      for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
        closing = part.name;
        try {
          await part.close();
        } catch (error) {
          faults.push(error);
        }
      }
      closing = undefined;
      if (faults.length > 0) throw new AggregateError(faults, "not all parts closed well");
    },
  };
}
