/* oxlint-disable no-restricted-globals, no-restricted-imports -- as the disk thread, in which it runs */
/**
 * One engine for a data directory, whatever happens to the process: the lock is a Unix socket in the directory that its owner listens on, so
 * the operating system lets go of it with the process, and whoever finds it locked learns by whom. (A pid in a file would say nothing between
 * containers; Node has no flock.) On Windows it is a named pipe, which the system makes unique by itself.
 *
 *   1. Each candidate listens on a socket of its own random name, and only then gives it its final name, lock-<id>.sock.
 *   2. Then it looks for others. Of two candidates, the one that came to step 2 later sees the other.
 *   3. A socket that refuses is of a dead process: it is removed, safely, since nobody ever listens on that name again.
 *   4. Seeing a holder, or a candidate with a lower id, it gives way. A candidate with a higher id is waited for: it will give way, or has
 *      looked before this one was there, and holds.
 */
import { createHash } from "node:crypto";
import { closeSync, constants, openSync, readdirSync, realpathSync, renameSync, unlinkSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { Server } from "node:net";
import { EngineError, invalidArgument } from "../errors.ts";
import { randomId } from "../host/random.ts";
import type { Random } from "../host/random.ts";

export interface DataDirectoryLock {
  /** Lets the next one in. Twice is once. */
  release(): void;
}

/** How long a holder has to say who it is. */
const ANSWER_MS_MAX = 1000;
/** How long a candidate is waited for, and how often it is looked at. */
const CANDIDATE_MS_MAX = 3000;
const CANDIDATE_POLL_MS = 10;
const ANSWER_BYTES_MAX = 256;
/** sun_path holds 108 bytes on Linux and 104 elsewhere, the final zero included. */
const SOCKET_PATH_BYTES_MAX = 103;
const NAME = /^lock-([0-9a-f]{16})\.sock$/;

interface Holder {
  readonly state: "dead" | "candidate" | "holder";
  readonly pid: number | undefined;
}

/** Rejects with IN_USE while another engine, in this process or another, has the directory, which must exist. */
export async function lockDataDirectory(directory: string, random: Random): Promise<DataDirectoryLock> {
  return process.platform === "win32" ? await lockPipe(directory) : await lockSocket(directory, random);
}

async function lockPipe(directory: string): Promise<DataDirectoryLock> {
  const name = createHash("sha256").update(realpathSync(directory).toLowerCase()).digest("hex").slice(0, 32);
  const path = `\\\\.\\pipe\\d-engine-${name}`;
  const server = answering(() => "holder");
  try {
    await listen(server, path);
  } catch (error) {
    server.close();
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EADDRINUSE" && code !== "EACCES") throw lockFailed(directory, error);
    throw inUse(directory, (await ask(path)).pid);
  }
  return { release: () => void server.close() };
}

async function lockSocket(directory: string, random: Random): Promise<DataDirectoryLock> {
  const id = randomId(random);
  const sockets = socketDirectory(directory, `lock-${id}.sock`);
  let held = false;
  const server = answering(() => (held ? "holder" : "candidate"));
  const path = `${directory}/lock-${id}.sock`;
  let renamed = false;
  const release = (): void => {
    server.close();
    if (renamed) removeSocket(path);
    renamed = false;
    sockets.close();
  };
  try {
    const temporary = `lock-${id}.new`;
    await listen(server, sockets.pathOf(temporary));
    renameSync(`${directory}/${temporary}`, path);
    renamed = true;
    await waitForOthers(directory, { id, sockets });
    held = true;
    return { release };
  } catch (error) {
    release();
    if (EngineError.is(error)) throw error;
    throw lockFailed(directory, error);
  }
}

async function waitForOthers(directory: string, own: { readonly id: string; readonly sockets: SocketDirectory }): Promise<void> {
  const until = performance.now() + CANDIDATE_MS_MAX;
  for (;;) {
    let waiting: Holder | undefined;
    for (const name of readdirSync(directory)) {
      const other = NAME.exec(name)?.[1];
      if (other === undefined || other === own.id) continue;
      const holder = await ask(own.sockets.pathOf(name));
      if (holder.state === "dead") removeSocket(`${directory}/${name}`);
      else if (holder.state === "holder" || other < own.id) throw inUse(directory, holder.pid);
      else waiting = holder;
    }
    if (waiting === undefined) return;
    if (performance.now() > until) throw inUse(directory, waiting.pid);
    await new Promise((resolve) => setTimeout(resolve, CANDIDATE_POLL_MS));
  }
}

function answering(state: () => "holder" | "candidate"): Server {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.end(`${JSON.stringify({ pid: process.pid, state: state() })}\n`);
  });
  server.unref();
  return server;
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      // A listener that breaks later is still a listener to those who connect.
      server.on("error", () => {});
      resolve();
    });
  });
}

/** Who listens there. One that answers nothing in time, or nonsense, is alive all the same. */
function ask(path: string): Promise<Holder> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(path);
    const settle = (holder: Holder): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(holder);
    };
    const timer = setTimeout(() => settle({ state: "holder", pid: undefined }), ANSWER_MS_MAX);
    socket.setEncoding("utf8");
    socket.on("data", (part: string) => {
      text = (text + part).slice(0, ANSWER_BYTES_MAX);
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      const isDead = error.code === "ECONNREFUSED" || error.code === "ENOENT";
      settle({ state: isDead ? "dead" : "holder", pid: undefined });
    });
    socket.on("end", () => settle(readAnswer(text)));
  });
}

function readAnswer(text: string): Holder {
  try {
    const answer = JSON.parse(text) as { pid?: unknown; state?: unknown };
    const pid = typeof answer.pid === "number" ? answer.pid : undefined;
    return { state: answer.state === "candidate" ? "candidate" : "holder", pid };
  } catch {
    return { state: "holder", pid: undefined };
  }
}

interface SocketDirectory {
  pathOf(name: string): string;
  close(): void;
}

/** A path too long for a socket's address is reached through the directory's descriptor, which Linux shows as a short path. */
function socketDirectory(directory: string, longestName: string): SocketDirectory {
  if (Buffer.byteLength(`${directory}/${longestName}`) <= SOCKET_PATH_BYTES_MAX) {
    return { pathOf: (name) => `${directory}/${name}`, close: () => {} };
  }
  if (process.platform !== "linux") {
    const bytesMax = SOCKET_PATH_BYTES_MAX - longestName.length - 1;
    throw invalidArgument("dataDir", `its path is longer than ${bytesMax} bytes, which a lock's address has no room for`);
  }
  let descriptor: number | undefined = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  return {
    pathOf: (name) => `/proc/self/fd/${descriptor}/${name}`,
    close: () => {
      if (descriptor !== undefined) closeSync(descriptor);
      descriptor = undefined;
    },
  };
}

function removeSocket(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone already, or left for the next one to find dead.
  }
}

function inUse(directory: string, pid: number | undefined): EngineError<"IN_USE"> {
  const by = pid === undefined ? "another process" : pid === process.pid ? "this process" : `process ${pid}`;
  const details = { what: "dataDir", at: directory, ...(pid === undefined ? {} : { pid }) } as const;
  return new EngineError("IN_USE", `${directory} is in use by ${by}`, details);
}

function lockFailed(directory: string, error: unknown): EngineError<"DISK_FAILED"> {
  const errno = (error as NodeJS.ErrnoException).code ?? "UNKNOWN";
  const message = `the data directory ${directory} cannot be locked: ${errno}`;
  return new EngineError("DISK_FAILED", message, { operation: "lock", path: directory, errno }, { cause: error });
}
