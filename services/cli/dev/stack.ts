/** Closes in the opposite order of opening, all of it, also if something fails on the way. */
export interface Stack {
  push(close: () => Promise<void> | void): void;
  close(): Promise<void>;
}

export function openStack(): Stack {
  const closers: (() => Promise<void> | void)[] = [];
  return {
    push: (close) => {
      closers.push(close);
    },
    close: async () => {
      const faults: unknown[] = [];
      for (let close = closers.pop(); close !== undefined; close = closers.pop()) {
        try {
          await close();
        } catch (error) {
          faults.push(error);
        }
      }
      if (faults.length > 0) throw new AggregateError(faults, "not all parts closed well");
    },
  };
}
