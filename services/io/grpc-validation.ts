import type { DescMessage, Message, MessageShape } from "@bufbuild/protobuf";
import { pathToString } from "@bufbuild/protobuf/reflect";
import { createValidator, type Violation } from "@bufbuild/protovalidate";
import { Code, ConnectError, type Interceptor, type StreamRequest } from "@connectrpc/connect";

const validator = createValidator();

/** How many violations an answer names. */
const violationsMax = 16;

/** Throws INVALID_ARGUMENT that names every field that breaks a rule of the contract. */
export function validate<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
): void {
  const result = validator.validate(schema, message);
  if (result.kind === "valid") return;
  if (result.kind === "error") throw result.error;
  throw new ConnectError(textOf(result.violations), Code.InvalidArgument);
}

/**
 * Checks requests by the rules in their contract, before a handler sees them. Where requests are a stream, the handler
 * calls `validate` itself: one bad message is answered and must not end the others.
 */
export const validation: Interceptor = (next) => (request) => {
  if (!request.stream) validate(request.method.input, request.message);
  else if (request.method.methodKind === "server_streaming") {
    return next({ ...request, message: validated(request) });
  }
  return next(request);
};

async function* validated(request: StreamRequest): AsyncGenerator<Message> {
  for await (const message of request.message) {
    validate(request.method.input, message);
    yield message;
  }
}

function textOf(violations: readonly Violation[]): string {
  const shown = violations.slice(0, violationsMax).map(({ field, message }) => {
    const path = pathToString(field);
    return path === "" ? message : `${path}: ${message}`;
  });
  const more = violations.length - shown.length;
  return more > 0 ? `${shown.join(", ")} and ${more} more` : shown.join(", ");
}
