/** The cases of gRPC's interoperability tests, for any client against any server. */
import assert from "node:assert/strict";
import { InteropError, numberAt, numbers, type InteropClient } from "./peer.ts";

/** A case. `client` may be made with compression of requests. */
export interface InteropCase {
  readonly name: string;
  readonly run: (client: InteropClient) => Promise<void>;
}

const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;

async function cancellations(client: InteropClient): Promise<number> {
  return numberAt((await client.unary("Cancellations", new Uint8Array(0))).response, 0);
}

/**
 * A peer counts the cancellations that its handlers see. One that comes before its handler runs, or while its iterator ends, it may not count,
 * which is its own affair; of five it counts one.
 */
async function cancellationIsSeen(client: InteropClient, cancelOne: () => Promise<void>): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const before = await cancellations(client);
    await cancelOne();
    const until = performance.now() + 1_000;
    do {
      if ((await cancellations(client)) > before) return;
      await new Promise((resolve) => setImmediate(resolve));
    } while (performance.now() < until);
  }
  assert.fail("the server has seen none of five cancellations");
}

function isCode(code: number): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof InteropError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}

function failing(code: number, message: string): Uint8Array {
  return Buffer.concat([Buffer.from([code]), Buffer.from(message, "utf8")]);
}

/** The cases, in the order in which they run on one connection. */
export const CASES: readonly InteropCase[] = [
  {
    name: "empty unary",
    run: async (client) => {
      assert.equal((await client.unary("Unary", new Uint8Array(0))).response.length, 0);
    },
  },
  {
    name: "large unary",
    run: async (client) => {
      const request = Buffer.alloc(1_000_003);
      for (let i = 0; i < request.length; i++) request[i] = (i * 7) & 0xff;
      assert.deepEqual(Buffer.from((await client.unary("Unary", request)).response), request);
      const response = (await client.unary("Sized", numbers(3_000_000))).response;
      assert.equal(response.length, 3_000_000);
      assert.ok(response.every((byte) => byte === 7));
    },
  },
  {
    name: "many calls at the same time",
    run: async (client) => {
      const requests = Array.from({ length: 300 }, (_, i) => Buffer.from(`request ${i} ${"x".repeat(i)}`));
      const answers = await Promise.all(requests.map((request) => client.unary("Unary", request)));
      assert.deepEqual(
        answers.map((answer) => Buffer.from(answer.response).toString()),
        requests.map((request) => request.toString()),
      );
    },
  },
  {
    name: "server streaming",
    run: async (client) => {
      for (const [count, size] of [
        [0, 0],
        [1, 10],
        [1000, 64],
        [20, 100_000],
      ] as const) {
        const call = client.serverStream("ServerStream", numbers(count, size));
        let received = 0;
        for (let message = await call.next(); message !== undefined; message = await call.next()) {
          assert.equal(message.length, size);
          if (size > 0) assert.equal(message[size - 1], received & 0xff);
          received++;
        }
        assert.equal(received, count);
      }
    },
  },
  {
    name: "client streaming",
    run: async (client) => {
      assert.equal(numberAt(await client.clientStream("ClientStream", []), 0), 0);
      const requests = [27_182, 8, 1828, 45_904, 0, 300_000].map((size) => new Uint8Array(size));
      assert.equal(numberAt(await client.clientStream("ClientStream", requests), 0), 374_922);
    },
  },
  {
    name: "ping pong",
    run: async (client) => {
      const call = client.bidi("Bidi");
      for (const size of [27_182, 8, 1828, 45_904, 1]) {
        call.send(new Uint8Array(size).fill(size & 0xff));
        assert.equal((await call.next())?.length, size);
      }
      call.end();
      assert.equal(await call.next(), undefined);
    },
  },
  {
    name: "empty stream",
    run: async (client) => {
      const call = client.bidi("Bidi");
      call.end();
      assert.equal(await call.next(), undefined);
    },
  },
  {
    name: "cancel after begin",
    run: async (client) => {
      await cancellationIsSeen(client, async () => {
        const controller = new AbortController();
        const call = client.unary("Sleep", new Uint8Array(0), { signal: controller.signal });
        // A call that came and went on the same connection shows that the first one has arrived.
        await cancellations(client);
        controller.abort();
        await assert.rejects(call, isCode(CANCELLED));
      });
    },
  },
  {
    name: "cancel after first response",
    run: async (client) => {
      await cancellationIsSeen(client, async () => {
        const call = client.bidi("Bidi");
        call.send(new Uint8Array(100));
        assert.equal((await call.next())?.length, 100);
        call.cancel();
        await assert.rejects(async () => {
          await call.next();
        }, isCode(CANCELLED));
      });
    },
  },
  {
    name: "timeout on sleeping server",
    run: async (client) => {
      await assert.rejects(client.unary("Sleep", new Uint8Array(0), { timeoutMs: 50 }), (error) => {
        assert.ok(error instanceof InteropError && (error.code === DEADLINE_EXCEEDED || error.code === CANCELLED), String(error));
        return true;
      });
    },
  },
  {
    name: "custom metadata",
    run: async (client) => {
      const trailer = Uint8Array.from([0xab, 0xab, 0, 1, 0xff]);
      const answer = await client.unary("Unary", new Uint8Array(3), {
        metadata: { "x-head": "test_initial_metadata_value", "x-trailer-bin": trailer },
      });
      assert.equal(answer.head, "test_initial_metadata_value");
      assert.deepEqual([...(answer.trailer ?? [])], [...trailer]);
    },
  },
  {
    name: "status code and message",
    run: async (client) => {
      for (let code = 1; code <= 16; code++) {
        await assert.rejects(client.unary("Fail", failing(code, "test status message")), (error) => {
          assert.ok(error instanceof InteropError, String(error));
          assert.deepEqual([error.code, error.message], [code, "test status message"]);
          return true;
        });
      }
    },
  },
  {
    name: "special status message",
    run: async (client) => {
      const message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP \u{1F608} and 100%\t\n";
      await assert.rejects(client.unary("Fail", failing(2, message)), { code: 2, message });
    },
  },
];
