// Runs the compiled tests and counts them. The last line on standard output is "N passed, N failed".
import { run } from "node:test";
import path from "node:path";
import { root, testFiles } from "./prepare.mjs";

const FILE_MINUTES_MAX = 10;

/** An error as a reader wants it: the test's own, without what the runner wrapped around it. */
function describe(error) {
  const inner = error?.code === "ERR_TEST_FAILURE" && error.cause !== undefined ? error.cause : error;
  return String(inner?.stack ?? inner);
}

/** One run of node:test over files; failures are printed as they come, a line per file when the file is through. */
async function runFiles(files, concurrency, totals) {
  if (files.length === 0) return;
  const perFile = new Map();
  const of = (file) => {
    let counts = perFile.get(file);
    if (counts === undefined) perFile.set(file, (counts = { passed: 0, failed: 0, skipped: 0, ms: 0, last: performance.now() }));
    return counts;
  };
  const name = (file) => path.relative(path.join(root, "dist"), file ?? "").replace(/\.test\.js$/, "");
  const stream = run({ files, concurrency, timeout: FILE_MINUTES_MAX * 60_000 });
  const onResult = (data, outcome) => {
    const isFile = files.includes(path.resolve(root, data.name));
    const isSuite = data.details?.type === "suite";
    const file = isFile ? path.resolve(root, data.name) : data.file;
    const counts = of(file);
    if (data.nesting === 0 && !isFile) counts.ms += data.details?.duration_ms ?? 0;
    if (outcome === "failed") {
      // A test with tests in it, a suite or a file fails because one of them did, which was told already.
      if (data.details?.error?.failureType === "subtestsFailed" || (isFile && counts.failed > 0)) return;
      process.stdout.write(`\nFAILED ${name(file)}: ${isFile ? "(the file itself)" : data.name}\n${describe(data.details?.error)}\n\n`);
      totals.failures.push(`${name(file)}: ${isFile ? "(the file itself)" : data.name}`);
    } else if (isFile || isSuite) return;
    if (outcome === "passed" && (data.skip !== undefined || data.todo !== undefined)) {
      counts.skipped += 1;
      totals.skipped += 1;
      if (typeof data.skip === "string") process.stdout.write(`skipped ${name(file)}: ${data.name}: ${data.skip}\n`);
      return;
    }
    counts[outcome] += 1;
    totals[outcome] += 1;
  };
  let current;
  const finish = () => {
    if (current === undefined) return;
    const { passed, failed, skipped, ms } = of(current);
    const skips = skipped === 0 ? "" : `, ${skipped} skipped`;
    process.stdout.write(
      `${failed === 0 ? "ok  " : "FAIL"} ${name(current)}: ${passed} passed${failed === 0 ? "" : `, ${failed} failed`}${skips} (${(ms / 1000).toFixed(1)} s)\n`,
    );
  };
  for await (const { type, data } of stream) {
    if (type === "test:stderr" || type === "test:stdout") {
      process.stderr.write(data.message);
      continue;
    }
    if (type === "test:diagnostic" && data.file !== undefined) process.stdout.write(`${name(data.file)}: ${data.message}\n`);
    if (type !== "test:pass" && type !== "test:fail") continue;
    const file = files.includes(path.resolve(root, data.name)) ? path.resolve(root, data.name) : data.file;
    if (file !== current) {
      finish();
      current = file;
    }
    onResult(data, type === "test:pass" ? "passed" : "failed");
  }
  finish();
}

export async function test(filters, { concurrency }) {
  // Set by a runner around this one; with it, node:test would do nothing.
  delete process.env.NODE_TEST_CONTEXT;
  const files = testFiles(filters);
  const totals = { passed: 0, failed: 0, skipped: 0, failures: [] };
  process.stdout.write(`Node ${process.version}, ${files.ordinary.length + files.process.length} test files\n`);
  await runFiles(files.ordinary, concurrency, totals);
  await runFiles(files.process, 1, totals);
  if (totals.passed + totals.failed === 0) {
    process.stdout.write("no test was found\n");
    totals.failed += 1;
  }
  if (totals.failures.length > 0) process.stdout.write(`\nfailed:\n${totals.failures.map((failure) => `  ${String(failure)}\n`).join("")}`);
  if (totals.skipped > 0) process.stdout.write(`${totals.skipped} skipped\n`);
  process.stdout.write(`${totals.passed} passed, ${totals.failed} failed\n`);
  return totals.failed === 0 ? 0 : 1;
}
