/** summary - prints the closing line of CI from vitest's JSON reports; a run without a report has failed. */
import { existsSync, readFileSync } from "node:fs";

const total = { passed: 0, failed: 0, skipped: 0 };
for (const path of process.argv.slice(2)) {
  const report = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : { numFailedTests: 1 };
  total.passed += report.numPassedTests ?? 0;
  total.failed += report.numFailedTests;
  total.skipped += (report.numPendingTests ?? 0) + (report.numTodoTests ?? 0);
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
