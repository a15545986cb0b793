/** The three processes of the floor, ready to be measured as the engine's members are. */
import { once } from "node:events";
import { MemberProcess } from "./members.ts";

export interface Floor {
  readonly members: readonly MemberProcess[];
  /** Of the followers. */
  readonly ports: readonly number[];
}

export async function startFloor(directory: string, keys: number): Promise<Floor> {
  const start = async (...args: readonly string[]): Promise<{ readonly member: MemberProcess; readonly port: number }> => {
    const member = new MemberProcess("floor-member.js", [directory, ...args]);
    const [message] = (await once(member.process, "message")) as [{ readonly port: number }];
    return { member, port: message.port };
  };
  const followers = [await start("follower"), await start("follower")];
  const leader = await start("leader", ...followers.map(({ port }) => String(port)));
  await leader.member.ask({ kind: "fill", keys });
  return {
    members: [leader.member, ...followers.map(({ member }) => member)],
    ports: followers.map(({ port }) => port),
  };
}
