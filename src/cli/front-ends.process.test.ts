/** `serve` with several front ends, and with sockets in the file system: what it says of them, what it does, and that it ends in order. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { canSharePort } from "../server/listeners.ts";
import { EXIT } from "./exit.ts";
import { Program, startServer, temporaryDirectory } from "./test/processes.ts";

test(
  "serve says how many front ends there are, or that there is one for want of what more take; all end with it",
  { timeout: 120_000 },
  async (context) => {
    const socket = path.join(temporaryDirectory(context), "client.sock");
    const { program, address } = await startServer(context, [
      ...["--listen-client-urls", `http://127.0.0.1:0,unix://${socket}`],
      ...["--front-ends", "3"],
    ]);
    await program.said(canSharePort() ? /threads +3 front ends\n/ : /threads +one of the front ends that are wanted: /);
    await program.said(new RegExp(`clients +http://127\\.0\\.0\\.1:\\d+, unix:${socket}\\n`));
    const put = new Program(context, ["put", "--endpoints", address, "a", "1"]);
    assert.equal(await put.ended, EXIT.done);
    const get = new Program(context, ["get", "--endpoints", `unix:${socket}`, "a", "--print-value-only"]);
    await get.said(/^1\n/);
    assert.equal(await get.ended, EXIT.done);
    // Another server would be dealt half of the connections, if it were let in.
    const second = ["serve", "--data-dir", path.join(temporaryDirectory(context), "data"), "--listen-client-urls", `http://${address}`];
    assert.equal(await new Program(context, [...second, "--front-ends", "2"]).ended, EXIT.refused);
    program.child.kill("SIGTERM");
    assert.equal(await program.ended, EXIT.done);
    assert.equal(existsSync(socket), false);
  },
);

test("what serve shows to be tried on a socket alone works as it stands", { timeout: 120_000, skip: hasCurl() }, async (context) => {
  const directory = temporaryDirectory(context);
  const listen = ["--listen-client-urls", `unix://${path.join(directory, "client.sock")}`];
  const program = new Program(context, ["serve", "--data-dir", path.join(directory, "data"), ...listen]);
  await program.said(/ready to serve client requests/);
  const [, endpoint = ""] = await program.said(/put (--endpoints \S+) greeting hello\n/);
  assert.equal(await new Program(context, ["put", ...endpoint.split(" "), "greeting", "hello"]).ended, EXIT.done);
  const [, curl = ""] = await program.said(/ curl (.*)\n/);
  assert.equal(spawnSync("curl", ["-s", ...curl.split(" ")], { encoding: "utf8" }).stdout, "hello");
});

function hasCurl(): string | false {
  return spawnSync("curl", ["--version"]).error === undefined ? false : "there is no curl on this machine";
}
