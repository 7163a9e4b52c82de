import { Session, type Runtime } from "node:inspector";

/**
 * All that an object can reach as plain values, private fields included, so that two objects can be compared to the last
 * field without the fields being named. Functions are left out: what they hold is not seen.
 */
export function stateOf(root: object, replace: Replace = (value) => value): unknown {
  const probe = new Probe();
  try {
    return plain(root, { probe, replace, path: "" });
  } finally {
    probe.close();
  }
}

/** Stands in for a value, before it is looked into. */
export type Replace = (value: unknown, path: string) => unknown;

interface Walk {
  readonly probe: Probe;
  readonly replace: Replace;
  readonly path: string;
}

function plain(given: unknown, walk: Walk): unknown {
  const value = walk.replace(given, walk.path);
  if (typeof value === "function") return undefined;
  if (typeof value !== "object" || value === null) return value;
  const into = (key: string) => ({ ...walk, path: `${walk.path}${key}` });
  if (ArrayBuffer.isView(value)) return Array.from(value as Uint8Array);
  if (Array.isArray(value)) return value.map((each) => plain(each, into("[]")));
  if (value instanceof Set) return { $set: [...value].map((each) => plain(each, into("{}"))) };
  if (value instanceof Map) {
    return {
      $map: [...value].map(([key, each]) => [plain(key, into("{key}")), plain(each, into("{}"))]),
    };
  }
  const fields = [...Object.entries(value), ...walk.probe.privateFieldsOf(value)];
  const entries = fields.map(([key, each]) => [key, plain(each, into(`.${key}`))] as const);
  return Object.fromEntries(entries.filter(([, each]) => each !== undefined));
}

/** The names of the private fields that hold a collection, with how much was in it. */
export function collectionsOf(root: object): ReadonlyMap<string, number> {
  const sizes = new Map<string, number>();
  stateOf(root, (value, path) => {
    const size = sizeOf(value);
    if (size !== undefined && /#\w+$/.test(path)) {
      sizes.set(path, Math.max(size, sizes.get(path) ?? 0));
    }
    return value;
  });
  return sizes;
}

function sizeOf(value: unknown): number | undefined {
  if (Array.isArray(value)) return value.length;
  return value instanceof Map || value instanceof Set ? value.size : undefined;
}

const passage = "tokengridProbe";

/** Looks into objects of this very process, through its debugger. */
class Probe {
  readonly #session = new Session();

  constructor() {
    this.#session.connect();
  }

  close(): void {
    this.#session.disconnect();
    Reflect.deleteProperty(globalThis, passage);
  }

  privateFieldsOf(object: object): (readonly [string, unknown])[] {
    if (Object.getPrototypeOf(object) === Object.prototype) return [];
    Reflect.set(globalThis, passage, object);
    const { result } = this.#post<Runtime.EvaluateReturnType>("Runtime.evaluate", {
      expression: `globalThis.${passage}`,
    });
    const found = this.#post<Runtime.GetPropertiesReturnType & { privateProperties?: Private[] }>(
      "Runtime.getProperties",
      { objectId: result.objectId, ownProperties: true },
    );
    return (found.privateProperties ?? [])
      .filter(({ value }) => value !== undefined)
      .map(({ name, value }) => [name, this.#valueOf(value)] as const);
  }

  #valueOf(remote: Runtime.RemoteObject | undefined): unknown {
    if (remote?.objectId === undefined) {
      return remote?.unserializableValue === undefined
        ? remote?.value
        : Number(remote.unserializableValue);
    }
    this.#post("Runtime.callFunctionOn", {
      objectId: remote.objectId,
      functionDeclaration: `function () { globalThis.${passage} = this; }`,
    });
    const value: unknown = Reflect.get(globalThis, passage);
    return value;
  }

  /** Answers at once: the debugger is on the same thread. */
  #post<Answer>(method: string, params: object): Answer {
    const answers: Answer[] = [];
    const failures: Error[] = [];
    this.#session.post(method, params, (error, found) => {
      if (error === null) answers.push(found as Answer);
      else failures.push(error);
    });
    const [answer] = answers;
    if (answer !== undefined) return answer;
    throw new Error(`expected an answer to ${method} at once, found none`, { cause: failures[0] });
  }
}

interface Private {
  readonly name: string;
  readonly value?: Runtime.RemoteObject;
}
