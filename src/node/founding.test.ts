/** What members say to each other at the founding of a cluster, step by step, where the order of it matters. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SnapshotMeta } from "../core/raft/message.ts";
import { Founding, foundingMembers, foundingMeta } from "./founding.ts";
import { newIdentity, type Identity } from "./identity.ts";
import { decodeFounding, encodeFounding, type FoundingFrame } from "./peer-frames.ts";

const bootstrap = { a: "a:1", b: "b:1", c: "c:1" };
let draws = 0;
const random = { uint32: (): number => ++draws };

/** One member's founding, whose disk answers when it is told to. */
class Member {
  identity: Identity;
  readonly sent: { readonly to: string; readonly frame: FoundingFrame }[] = [];
  isActive = false;
  readonly founding: Founding;
  #tick: () => void = () => {};
  #synced: (() => void)[] = [];

  constructor(identity: Identity) {
    this.identity = identity;
    this.founding = new Founding({
      identity,
      clock: {
        now: () => 0,
        wallNow: () => 0,
        defer: (run) => run(),
        setTimer: (_, run) => {
          this.#tick = run;
          return { cancel: () => (this.#tick = () => {}) };
        },
      },
      intervalMs: 1,
      send: (to, frame) => this.sent.push({ to, frame: decodeFounding(Buffer.concat(frame))! }),
      save: (next) =>
        new Promise((resolve) =>
          this.#synced.push(() => {
            this.identity = next;
            resolve();
          }),
        ),
      onActive: () => (this.isActive = true),
      onRefused: (error) => assert.fail(error),
    });
    this.sent.length = 0;
  }

  hear(from: string, frame: FoundingFrame): void {
    this.founding.onFrame(from, Buffer.concat(encodeFounding(frame)));
  }

  /** The disk has done what it was asked. */
  async sync(): Promise<void> {
    for (const synced of this.#synced.splice(0)) synced();
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** What is said in an interval. */
  tick(): readonly string[] {
    this.sent.length = 0;
    this.#tick();
    return this.sent.map(({ frame }) => frame.step);
  }
}

const identityOf = (name: string): Identity => newIdentity({ name, bootstrap }, random);
const [a, b, c] = ["a", "b", "c"].map(identityOf) as [Identity, Identity, Identity];
const again = (identity: Identity): Identity => identityOf(identity.name);

function founding(...identities: readonly Identity[]): SnapshotMeta {
  return foundingMeta(
    foundingMembers(a).map(({ id, name, address }) => ({
      id,
      name,
      peerAddress: address,
      clientAddresses: [],
      incarnation: identities.find((identity) => identity.name === name)!.incarnation,
      promotable: false,
    })),
  );
}

const incarnations = ({ founding: meta }: Identity): readonly string[] | undefined =>
  meta?.configuration.members.map(({ incarnation }) => incarnation);

test("a proposal that comes after the one that took its place is not gone back to", async () => {
  const member = new Member(c);
  const [first, second] = [founding(a, b, c), founding(a, again(b), c)];
  member.hear(a.memberId, { step: "propose", founding: second, round: 2 });
  await member.sync();
  assert.deepEqual(member.sent.at(-1), { to: a.memberId, frame: { step: "accepted", founding: second } });
  member.sent.length = 0;
  member.hear(a.memberId, { step: "propose", founding: first, round: 1 });
  await member.sync();
  assert.deepEqual(member.sent, []);
  assert.deepEqual(
    incarnations(member.identity),
    second.configuration.members.map(({ incarnation }) => incarnation),
  );
  // Nor does a restart go back.
  const opened = new Member(member.identity);
  opened.hear(a.memberId, { step: "propose", founding: first, round: 1 });
  opened.hear(a.memberId, { step: "propose", founding: second, round: 2 });
  assert.deepEqual(
    opened.sent.map(({ frame }) => frame),
    [{ step: "accepted", founding: second }],
  );
});

test("the founder numbers its proposals on, across a restart", async () => {
  const founder = new Member(a);
  founder.hear(b.memberId, { step: "hello", incarnation: b.incarnation, phase: "founding" });
  founder.hear(c.memberId, { step: "hello", incarnation: c.incarnation, phase: "founding" });
  await founder.sync();
  const opened = new Member(founder.identity);
  const wiped = again(b);
  opened.hear(b.memberId, { step: "hello", incarnation: wiped.incarnation, phase: "founding" });
  opened.hear(c.memberId, { step: "hello", incarnation: c.incarnation, phase: "pending" });
  await opened.sync();
  assert.deepEqual(opened.sent[0]?.frame, { step: "propose", founding: founding(a, wiped, c), round: 2 });
  // What was accepted before is not of it.
  for (const { memberId } of [b, c]) opened.hear(memberId, { step: "accepted", founding: founding(a, b, c) });
  await opened.sync();
  assert.equal(opened.isActive, false);
  for (const { memberId } of [b, c]) opened.hear(memberId, { step: "accepted", founding: founding(a, wiped, c) });
  await opened.sync();
  assert.equal(opened.isActive, true);
});

/**
 * 1. A1 has founded, and says so to B and C; B does not hear it yet.
 * 2. A is wiped. B and C greet A2, who proposes; C accepts.
 * 3. B hears what A1 had said. Were it to become active by that, C would be by neither.
 */
test("who has greeted a founder with another disk takes nothing from the one before it", async () => {
  const member = new Member({ ...b, phase: "pending", founding: founding(a, b, c), foundingRound: 1 });
  const wiped = again(a);
  member.founding.onUp(a.memberId, wiped.incarnation);
  member.tick();
  assert.deepEqual(
    member.sent.filter(({ to }) => to === a.memberId).map(({ frame }) => frame),
    [{ step: "hello", incarnation: b.incarnation, phase: "pending" }],
  );
  member.hear(a.memberId, { step: "activate", founding: founding(a, b, c) });
  member.hear(a.memberId, { step: "propose", founding: founding(a, again(b), c), round: 9 });
  await member.sync();
  assert.equal(member.isActive, false);
  // The count of the founder that it is now begins anew.
  member.hear(a.memberId, { step: "propose", founding: founding(wiped, b, c), round: 1 });
  await member.sync();
  member.hear(a.memberId, { step: "activate", founding: founding(wiped, b, c) });
  await member.sync();
  assert.equal(member.isActive, true);
});

/** A1 has founded and was wiped; C took part with A1 before that, so that what A1 founded is in force. */
test("who has greeted a founder with another disk still hears from others that the founding before is in force", async () => {
  const member = new Member({ ...b, phase: "pending", founding: founding(a, b, c), foundingRound: 1 });
  member.founding.onUp(a.memberId, again(a).incarnation);
  member.founding.onUp(c.memberId, c.incarnation);
  member.tick();
  member.hear(c.memberId, { step: "activate", founding: founding(a, b, c) });
  await member.sync();
  assert.equal(member.isActive, true);
});

test("who is about to be active greets nobody, since a greeting says that it is not", async () => {
  const member = new Member({ ...b, phase: "pending", founding: founding(a, b, c), foundingRound: 1 });
  assert.deepEqual(member.tick(), ["hello", "hello"]);
  member.hear(a.memberId, { step: "activate", founding: founding(a, b, c) });
  assert.deepEqual(member.tick(), []);
  await member.sync();
  assert.equal(member.isActive, true);
});
