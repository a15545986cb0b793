import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { after, test } from "node:test";
import { EngineError } from "../errors.ts";
import { createNodeRandom } from "../host/node-random.ts";
import { lockDataDirectory } from "./data-directory-lock.ts";

const root = mkdtempSync(`${tmpdir()}/d-engine-lock-`);
after(() => rmSync(root, { recursive: true, force: true }));
const random = createNodeRandom();
let directories = 0;

function newDirectory(name = `d${directories++}`): string {
  const path = `${root}/${name}`;
  mkdirSync(path, { recursive: true });
  return path;
}

async function refusal(directory: string): Promise<EngineError<"IN_USE">> {
  const error = await lockDataDirectory(directory, random).then(
    () => assert.fail("it must be refused"),
    (thrown: unknown) => thrown,
  );
  assert.ok(EngineError.is(error, "IN_USE"), String(error));
  return error;
}

test("a second engine in the same process is refused, and let in when the first has gone", async () => {
  const directory = newDirectory();
  const lock = await lockDataDirectory(directory, random);
  assert.deepEqual((await refusal(directory)).details, { what: "dataDir", at: directory, pid: process.pid });
  lock.release();
  lock.release();
  (await lockDataDirectory(directory, random)).release();
  assert.deepEqual(readdirSync(directory), []);
});

test("of many at once exactly one gets it", async () => {
  for (let round = 0; round < 5; round++) {
    const directory = newDirectory();
    const outcomes = await Promise.allSettled(Array.from({ length: 6 }, () => lockDataDirectory(directory, random)));
    const locks = outcomes.filter((outcome) => outcome.status === "fulfilled");
    assert.equal(locks.length, 1);
    for (const outcome of outcomes) if (outcome.status === "rejected") assert.equal(outcome.reason.code, "IN_USE");
    locks[0]!.value.release();
  }
});

test("the socket of a dead process is in nobody's way", async () => {
  const directory = newDirectory();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${directory}/lock-1.new`, resolve));
  renameSync(`${directory}/lock-1.new`, `${directory}/lock-00000000deadbeef.sock`);
  await new Promise((resolve) => server.close(resolve));
  assert.deepEqual(readdirSync(directory), ["lock-00000000deadbeef.sock"]);
  const lock = await lockDataDirectory(directory, random);
  assert.equal(readdirSync(directory).length, 1);
  lock.release();
});

test("another process that holds it is named, and lets go of it by being killed", async () => {
  const directory = newDirectory();
  const script = `
    const { lockDataDirectory } = await import(${JSON.stringify(new URL("./data-directory-lock.js", import.meta.url).href)});
    const { createNodeRandom } = await import(${JSON.stringify(new URL("../host/node-random.js", import.meta.url).href)});
    await lockDataDirectory(${JSON.stringify(directory)}, createNodeRandom());
    console.log("locked");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    await new Promise<void>((resolve, reject) => {
      child.stdout.once("data", () => resolve());
      child.once("exit", () => reject(new Error("the child has ended")));
    });
    assert.equal((await refusal(directory)).details.pid, child.pid);
  } finally {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }
  (await lockDataDirectory(directory, random)).release();
});

test("a holder that answers nothing is a holder", async () => {
  const directory = newDirectory();
  const sockets: { destroy(): void }[] = [];
  const server = createServer((socket) => sockets.push(socket));
  await new Promise<void>((resolve) => server.listen(`${directory}/lock-2.new`, resolve));
  renameSync(`${directory}/lock-2.new`, `${directory}/lock-00000000cafecafe.sock`);
  assert.equal((await refusal(directory)).details.pid, undefined);
  for (const socket of sockets) socket.destroy();
  server.close();
});

test("a path too long for a socket's address is locked all the same", { skip: process.platform !== "linux" }, async () => {
  const directory = newDirectory(`${"long".repeat(20)}/${"path".repeat(20)}`);
  const lock = await lockDataDirectory(directory, random);
  assert.equal((await refusal(directory)).details.pid, process.pid);
  lock.release();
  (await lockDataDirectory(directory, random)).release();
  assert.deepEqual(readdirSync(directory), []);
});

test("a directory that is not there is DISK_FAILED", async () => {
  await assert.rejects(lockDataDirectory(`${root}/nowhere`, random), { code: "DISK_FAILED" });
});
