/** The sessions of the model: whatever was answered is kept, with its number, until it is acknowledged or the session ends. */
import type { ModelCommand, ModelResult } from "./model.ts";

interface ModelSession {
  readonly window: number;
  readonly lifeMs: number;
  dueMs: number;
  acked: number;
  readonly answers: Map<number, ModelResult>;
}

export type SessionCommand =
  | { readonly op: "openSession"; readonly window: number; readonly lifeMs: number }
  /** `nth`: of all that were ever opened. */
  | { readonly op: "closeSession"; readonly nth: number }
  | { readonly op: "inSession"; readonly nth: number; readonly sequence: number; readonly acked: number; readonly command: PlainCommand };

export type PlainCommand = Exclude<ModelCommand, SessionCommand>;

/** Of all that were opened before a batch: the one that a command of it means. */
export function sessionId(opened: readonly string[], nth: number): string {
  return opened[nth % Math.max(1, opened.length)] ?? "0000000000000001";
}

export class ModelSessions {
  /** Ids of all that were ever opened. */
  readonly opened: string[] = [];
  private readonly sessions: Map<string, ModelSession> = new Map();

  expire(clockMs: number): void {
    for (const [id, { dueMs }] of this.sessions) if (dueMs <= clockMs) this.sessions.delete(id);
  }

  open(id: string, { window, lifeMs }: { readonly window: number; readonly lifeMs: number }, clockMs: number): void {
    this.opened.push(id);
    this.sessions.set(id, { window, lifeMs, dueMs: clockMs + lifeMs, acked: 0, answers: new Map() });
  }

  close(id: string): boolean {
    return this.sessions.delete(id);
  }

  /** `run` applies the command; a text is why it is not to be. */
  once(
    id: string,
    { sequence, acked }: { readonly sequence: number; readonly acked: number },
    clockMs: number,
    run: () => ModelResult,
  ): ModelResult | "sessionGone" | "sessionWindow" | "malformed" {
    const session = this.sessions.get(id);
    if (session === undefined) return "sessionGone";
    if (acked >= sequence) return "malformed";
    session.dueMs = clockMs + session.lifeMs;
    session.acked = Math.max(session.acked, acked);
    if (sequence <= session.acked || sequence > session.acked + session.window) return "sessionWindow";
    const answer = session.answers.get(sequence) ?? run();
    session.answers.set(sequence, answer);
    return answer;
  }
}
