import { writeFileSync } from "node:fs";
import type { Reporter, TestCase, TestModule } from "vitest/node";

/**
 * Ends a run with one line, `12 passed, 0 failed`, and writes it to the file in TOKENGRID_TEST_TALLY. With
 * TOKENGRID_TEST_NO_SKIP=1 a test that did not run is a failure, for machines that have everything.
 */
export class Tally implements Reporter {
  readonly #mayNotSkip = process.env["TOKENGRID_TEST_NO_SKIP"] === "1";
  readonly #path = process.env["TOKENGRID_TEST_TALLY"];

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const tests = modules.flatMap(({ children }) => [...children.allTests()]);
    const states = tests.map((test) => test.result().state);
    const passed = states.filter((state) => state === "passed").length;
    const skipped = tests.filter((test) => test.result().state === "skipped");
    const broken = modules.filter((module) => isBroken(module)).length + errors.length;
    const forbidden = this.#mayNotSkip ? skipped : [];
    const failed = states.filter((state) => state === "failed").length + broken + forbidden.length;
    for (const test of forbidden)
      process.stderr.write(`skipped, and must not be: ${nameOf(test)}\n`);
    if (forbidden.length > 0) process.exitCode = 1;
    const others = skipped.length - forbidden.length;
    const line = `${passed} passed, ${failed} failed${others === 0 ? "" : `, ${others} skipped`}`;
    process.stdout.write(`\n${line}\n`);
    if (this.#path !== undefined) writeFileSync(this.#path, `${line}\n`);
  }
}

/** A file that could not be loaded has no failed test, and is a failure all the same. */
function isBroken(module: TestModule): boolean {
  const tests = [...module.children.allTests()];
  return module.state() === "failed" && tests.every((test) => test.result().state !== "failed");
}

function nameOf(test: TestCase): string {
  return `${test.module.relativeModuleId} > ${test.fullName}`;
}
