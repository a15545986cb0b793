/** `d-engine/raft`: a replicated state machine of one's own, on the same log, links and node as the key-value engine. */
import { openRaftNode } from "./client/open-raft-node.ts";
import type { RaftNode as RaftNodeInterface, RaftNodeOptions } from "./client/raft-node.ts";

export type RaftNode = RaftNodeInterface;
export const RaftNode: { open(options: RaftNodeOptions): Promise<RaftNodeInterface> } = { open: openRaftNode };

export type { Proposed, RaftNodeOptions } from "./client/raft-node.ts";
export type { Command, OpenStateMachine, StateMachine } from "./node/machine/state-machine.ts";
export type { ModuleRef } from "./storage/records/record-store.ts";
