/**
 * How many sessions there may be, and what each may ask for. Constants, or part of the state: every member must come to the same judgement.
 * What sessions are is in session-table.ts.
 */

/** In front of a command's other parts, behind its header: which session, its number, what is acknowledged. */
export const SESSION_BYTES = 24;
/** Sessions of one state. One more is refused. */
export const SESSIONS_MAX = 4_096;
/** Writes of one session that may be unanswered at once. */
export const SESSION_WINDOW_MAX = 65_536;
/** The windows of all sessions together. */
export const SESSION_SLOTS_MAX = 4_194_304;
/** A session lasts at least this long without use. */
const SESSION_LIFE_MS_MIN = 1_000;
/** 30 days: a client that is gone for good holds its window no longer. */
const SESSION_LIFE_MS_MAX = 2_592_000_000;
/** The longest answer that is remembered, its header not counted. Of a longer one only how it ended and its revision are. */
export const ANSWER_BYTES_KEPT_MAX = 4_096;
/** What a remembered answer counts for beside its bytes. */
export const ANSWER_OVERHEAD_BYTES = 256;
/** Remembered answers of all sessions together; beyond it the oldest are as if they had been too long. */
export const ANSWERS_BYTES_MAX = 67_108_864;

/** Whether a session may be opened with these. */
export function areSessionBounds({ window, lifeMs }: { readonly window: number; readonly lifeMs: number }): boolean {
  return isSessionWindow(window) && isSessionLife(lifeMs);
}

/** Whether it is a number of unanswered writes that a session may have. */
function isSessionWindow(window: number): boolean {
  return Number.isSafeInteger(window) && window >= 1 && window <= SESSION_WINDOW_MAX;
}

/** Whether it is a time without use that a session may last: whole milliseconds. */
function isSessionLife(lifeMs: number): boolean {
  return Number.isSafeInteger(lifeMs) && lifeMs >= SESSION_LIFE_MS_MIN && lifeMs <= SESSION_LIFE_MS_MAX;
}
