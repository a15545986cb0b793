/**
 * What each frame may look like and what it does (RFC 9113 sections 5.1, 6 and 8.1). Errors of a stream reset it, errors of the connection end it,
 * and frames that do no work are paid for from the connection's budget.
 */
import type { HeaderBlock } from "../hpack/header-field.ts";
import type { Connection } from "./connection.ts";
import type { FrameSink } from "./frame-reader.ts";
import { messageHeadOf, requestProblem, responseProblem, trailersProblem } from "./message-head.ts";
import {
  ErrorCode,
  FLAG_ACK,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FLAG_PADDED,
  FLAG_PRIORITY,
  FRAME_BYTES_DEFAULT,
  FRAME_BYTES_MAX,
  FrameType,
  Setting,
  WINDOW_BYTES_MAX,
} from "./protocol.ts";
import type { Stream } from "./stream.ts";

const EMPTY: Buffer = Buffer.alloc(0);

/** Applies the rules to the frames of one connection. */
export class FrameRules implements FrameSink {
  readonly #connection: Connection;
  /** A header block whose END_HEADERS has not come: its stream (0: none), flags, fragments. */
  #blockStreamId = 0;
  #blockFlags = 0;
  #fragments: Buffer[] = [];
  #fragmentBytes = 0;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  onFrame(type: number, flags: number, streamId: number, source: Buffer, start: number, end: number): boolean {
    const connection = this.#connection;
    if (!connection.settingsReceived && type !== FrameType.settings) {
      return connection.fail(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS");
    }
    if (this.#blockStreamId === 0) connection.framesDone++;
    else if (type !== FrameType.continuation || streamId !== this.#blockStreamId) {
      return connection.fail(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted");
    }
    switch (type) {
      case FrameType.data:
        return this.#onData(flags, streamId, source, start, end);
      case FrameType.headers:
        return this.#onHeaders(flags, streamId, source, start, end);
      case FrameType.windowUpdate:
        return this.#onWindowUpdate(streamId, source, start, end);
      case FrameType.rstStream:
        return this.#onRstStream(streamId, source, start, end);
      case FrameType.settings:
        return this.#onSettings(flags, streamId, source, start, end);
      case FrameType.ping:
        return this.#onPing(flags, streamId, source, start, end);
      case FrameType.goaway:
        return this.#onGoaway(streamId, source, start, end);
      case FrameType.continuation:
        return this.#onContinuation(flags, source, start, end);
      case FrameType.pushPromise:
        return connection.fail(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE is not enabled");
      case FrameType.priority:
        return this.#onPriority(streamId, end - start);
      default:
        return this.#pay();
    }
  }

  onFrameTooLarge(_type: number, _streamId: number, length: number): void {
    this.#connection.fail(ErrorCode.FRAME_SIZE_ERROR, `a frame of ${length} bytes`);
  }

  /** Takes one from the budget of frames that do no work. */
  #pay(): boolean {
    return this.#connection.controlBudget.spend() || this.#connection.fail(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that do no work");
  }

  #payReset(): boolean {
    return this.#connection.resetBudget.spend() || this.#connection.fail(ErrorCode.ENHANCE_YOUR_CALM, "too many streams reset");
  }

  /** True if the stream was never opened. */
  #isIdle(streamId: number): boolean {
    const { isServer, lastStreamId } = this.#connection;
    const ofClient = (streamId & 1) === 1;
    // A server opens no streams here, so each even id is idle for ever.
    return !ofClient || streamId > lastStreamId || (!isServer && lastStreamId === 0);
  }

  #resetForError(stream: Stream, code: number, reason: string): boolean {
    this.#connection.failStream(stream, code, reason);
    return this.#payReset();
  }

  #onData(flags: number, streamId: number, source: Buffer, start: number, end: number): boolean {
    const connection = this.#connection;
    const length = end - start;
    const stream = connection.streams.get(streamId);
    if (!connection.receiveWindow.take(length))
      return connection.fail(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window");
    if ((flags & FLAG_PADDED) !== 0) {
      const padding = length === 0 ? 1 : source[start]! + 1;
      if (padding > length) return connection.fail(ErrorCode.PROTOCOL_ERROR, "padding longer than the frame");
      end -= padding - 1;
      start++;
    }
    if (stream === undefined) {
      connection.onRead(length);
      return this.#onClosedStream(streamId, length);
    }
    const last = (flags & FLAG_END_STREAM) !== 0;
    stream.receiveWindow -= length;
    if (stream.receiveWindow < 0) {
      connection.onRead(length);
      return this.#resetForError(stream, ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window");
    }
    if (stream.remoteEnded || !stream.headReceived) {
      connection.onRead(length);
      const code = stream.remoteEnded ? ErrorCode.STREAM_CLOSED : ErrorCode.PROTOCOL_ERROR;
      return this.#resetForError(stream, code, "data outside of the message");
    }
    stream.unconsumed += length;
    connection.grant();
    const padding = length - (end - start);
    if (padding > 0) stream.consumed(padding);
    if (end === start && !last && !this.#pay()) return false;
    if (end > start) connection.controlBudget.earn();
    if (stream.contentLeft >= 0) {
      stream.contentLeft -= end - start;
      if (stream.contentLeft < 0 || (last && stream.contentLeft > 0)) {
        return this.#resetForError(stream, ErrorCode.PROTOCOL_ERROR, "more or less data than content-length");
      }
    }
    if (last) stream.remoteEnded = true;
    stream.listener.onData(source, start, end, last);
    if (last) connection.onRemoteEnd(stream);
    return !connection.isClosed;
  }

  /** Data for a stream that we reset: free as far as the stream's window had allowed it, since it was on its way, else paid for. */
  #payLate(bytes: number): boolean {
    const connection = this.#connection;
    if (bytes === 0 || bytes > connection.lateBytes) return this.#pay();
    connection.lateBytes -= bytes;
    return true;
  }

  /** DATA, with the bytes of its payload, or HEADERS for a stream that is not open. */
  #onClosedStream(streamId: number, bytes: number): boolean {
    const connection = this.#connection;
    if (streamId === 0 || this.#isIdle(streamId)) return connection.fail(ErrorCode.PROTOCOL_ERROR, "a frame for an idle stream");
    // A client resets streams at will: what was on its way is dropped.
    if (!connection.isServer) return this.#payLate(bytes);
    switch (connection.closedStreams.lookUp(streamId)) {
      case "ended":
        return connection.fail(ErrorCode.STREAM_CLOSED, "a frame for a closed stream");
      case "skipped":
        return connection.fail(ErrorCode.PROTOCOL_ERROR, "a frame for a stream that was never opened");
      case "forgotten":
        connection.sender.rstStream(streamId, ErrorCode.STREAM_CLOSED);
        return this.#pay();
      case "reset":
        return this.#payLate(bytes);
    }
  }

  #onHeaders(flags: number, streamId: number, source: Buffer, start: number, end: number): boolean {
    const connection = this.#connection;
    if (streamId === 0) return connection.fail(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0");
    if ((flags & (FLAG_PADDED | FLAG_PRIORITY)) !== 0) {
      const length = end - start;
      const fixed = ((flags & FLAG_PADDED) !== 0 ? 1 : 0) + ((flags & FLAG_PRIORITY) !== 0 ? 5 : 0);
      const padding = (flags & FLAG_PADDED) !== 0 && length > 0 ? source[start]! : 0;
      if (fixed > length) return connection.fail(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its flags");
      if (fixed + padding > length) return connection.fail(ErrorCode.PROTOCOL_ERROR, "padding longer than the frame");
      start += fixed;
      end -= padding;
    }
    if ((flags & FLAG_END_HEADERS) !== 0) return this.#onBlock(streamId, flags, source, start, end);
    this.#blockStreamId = streamId;
    this.#blockFlags = flags;
    return this.#addFragment(source, start, end);
  }

  #onContinuation(flags: number, source: Buffer, start: number, end: number): boolean {
    if (this.#blockStreamId === 0) return this.#connection.fail(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS");
    if (!this.#addFragment(source, start, end)) return false;
    if ((flags & FLAG_END_HEADERS) === 0) return true;
    const block = Buffer.concat(this.#fragments, this.#fragmentBytes);
    const streamId = this.#blockStreamId;
    this.#blockStreamId = 0;
    this.#fragments = [];
    this.#fragmentBytes = 0;
    this.#connection.isInBlock = false;
    return this.#onBlock(streamId, this.#blockFlags, block, 0, block.length);
  }

  #addFragment(source: Buffer, start: number, end: number): boolean {
    const { limits } = this.#connection;
    this.#connection.isInBlock = true;
    // A copy: a view would keep the socket's whole read buffer for as long as the block takes.
    this.#fragments.push(end > start ? Buffer.from(source.subarray(start, end)) : EMPTY);
    this.#fragmentBytes += end - start;
    if (this.#fragmentBytes > limits.headerBlockBytesMax || this.#fragments.length > limits.continuationFramesMax + 1) {
      return this.#connection.fail(ErrorCode.ENHANCE_YOUR_CALM, "a header block too long");
    }
    return true;
  }

  #onBlock(streamId: number, flags: number, source: Buffer, start: number, end: number): boolean {
    const connection = this.#connection;
    if (end - start > connection.limits.headerBlockBytesMax) return connection.fail(ErrorCode.ENHANCE_YOUR_CALM, "a header block too long");
    // Decoded in any case: the tables of both sides must stay equal.
    const block = connection.decoder.decode(source, start, end);
    if (block === undefined) return connection.fail(ErrorCode.COMPRESSION_ERROR, connection.decoder.error);
    const last = (flags & FLAG_END_STREAM) !== 0;
    const stream = connection.streams.get(streamId);
    if (stream === undefined) {
      if (connection.isServer && (streamId & 1) === 1 && streamId > connection.lastStreamId) return this.#onRequest(streamId, block, last);
      return this.#onClosedStream(streamId, 0);
    }
    if (stream.remoteEnded) return this.#resetForError(stream, ErrorCode.STREAM_CLOSED, "headers behind the end of the stream");
    const head = messageHeadOf(block);
    if (stream.headReceived) {
      const problem = !last ? "trailers that do not end the stream" : trailersProblem(head);
      if (problem !== "") return this.#resetForError(stream, ErrorCode.PROTOCOL_ERROR, problem);
      if (stream.contentLeft > 0) return this.#resetForError(stream, ErrorCode.PROTOCOL_ERROR, "less data than content-length");
    } else {
      const problem = responseProblem(head);
      if (problem !== "") return this.#resetForError(stream, ErrorCode.PROTOCOL_ERROR, problem);
      // Informational responses are no response yet.
      if (head.status < 200)
        return last ? this.#resetForError(stream, ErrorCode.PROTOCOL_ERROR, "the stream ends before a response") : this.#pay();
      stream.headReceived = true;
      connection.hasAnswered = true;
      stream.contentLeft = last ? -1 : head.contentLength;
    }
    connection.controlBudget.earn();
    if (last) stream.remoteEnded = true;
    stream.listener.onHeaders(block, last);
    if (last) connection.onRemoteEnd(stream);
    return !connection.isClosed;
  }

  #onRequest(streamId: number, block: HeaderBlock, last: boolean): boolean {
    const connection = this.#connection;
    connection.lastStreamId = streamId;
    const head = messageHeadOf(block);
    // The fields beyond the limit were dropped, so what is missing may have been there.
    const problem = requestProblem(head);
    let refusal = -1;
    if (problem !== "") refusal = block.oversized ? ErrorCode.ENHANCE_YOUR_CALM : ErrorCode.PROTOCOL_ERROR;
    else if (last && head.contentLength > 0) refusal = ErrorCode.PROTOCOL_ERROR;
    else if (!connection.mayOpen(streamId)) refusal = ErrorCode.REFUSED_STREAM;
    if (refusal >= 0) {
      connection.closedStreams.add(streamId, true);
      connection.sender.rstStream(streamId, refusal);
      return this.#payReset();
    }
    const stream = connection.onRequest(streamId, block, last);
    if (!last) stream.contentLeft = head.contentLength;
    return !connection.isClosed;
  }

  #onRstStream(streamId: number, source: Buffer, start: number, end: number): boolean {
    const connection = this.#connection;
    if (end - start !== 4) return connection.fail(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of a wrong length");
    if (streamId === 0 || this.#isIdle(streamId)) return connection.fail(ErrorCode.PROTOCOL_ERROR, "RST_STREAM for an idle stream");
    const stream = connection.streams.get(streamId);
    if (stream === undefined) return this.#pay();
    const code = source.readUInt32BE(start);
    connection.onPeerReset(stream, code, code === ErrorCode.REFUSED_STREAM, "the peer reset the stream");
    // A server's refusals and early ends are its right; a client's resets cost us the work begun for it.
    return connection.isServer ? this.#payReset() : !connection.isClosed;
  }

  #onWindowUpdate(streamId: number, source: Buffer, start: number, end: number): boolean {
    const connection = this.#connection;
    if (end - start !== 4) return connection.fail(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length");
    if (!this.#pay()) return false;
    const increment = source.readUInt32BE(start) & 0x7fff_ffff;
    if (streamId === 0) {
      if (increment === 0) return connection.fail(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0");
      return (
        connection.sender.grantConnection(increment) || connection.fail(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window overflows")
      );
    }
    const stream = connection.streams.get(streamId);
    if (stream === undefined) {
      return this.#isIdle(streamId) ? connection.fail(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE for an idle stream") : true;
    }
    if (increment === 0) return this.#resetForError(stream, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0");
    if (!connection.sender.grantStream(stream, increment)) {
      return this.#resetForError(stream, ErrorCode.FLOW_CONTROL_ERROR, "the stream's window overflows");
    }
    return true;
  }

  #onSettings(flags: number, streamId: number, source: Buffer, start: number, end: number): boolean {
    const connection = this.#connection;
    const length = end - start;
    if (streamId !== 0) return connection.fail(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream");
    if ((flags & FLAG_ACK) !== 0) {
      if (length !== 0) return connection.fail(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with settings");
      if (!connection.settingsReceived) return connection.fail(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS");
      if (!this.#pay()) return false;
      connection.onSettingsAck();
      return true;
    }
    if (length % 6 !== 0) return connection.fail(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong length");
    if (!this.#pay()) return false;
    // The last value counts (RFC 9113 section 6.5.3), so a frame full of changes costs one pass over the streams.
    let initialWindow = -1;
    for (let at = start; at < end; at += 6) {
      const id = source.readUInt16BE(at);
      const value = source.readUInt32BE(at + 2);
      switch (id) {
        case Setting.headerTableSize:
          connection.sender.encoder.setTableBytesMax(value);
          break;
        case Setting.enablePush:
          if (value > 1 || (value === 1 && !connection.isServer)) return connection.fail(ErrorCode.PROTOCOL_ERROR, "a wrong ENABLE_PUSH");
          break;
        case Setting.maxConcurrentStreams:
          connection.peerStreamsMax = value;
          break;
        case Setting.initialWindowSize:
          if (value > WINDOW_BYTES_MAX) return connection.fail(ErrorCode.FLOW_CONTROL_ERROR, "an INITIAL_WINDOW_SIZE too large");
          initialWindow = value;
          break;
        case Setting.maxFrameSize:
          if (value < FRAME_BYTES_DEFAULT || value > FRAME_BYTES_MAX)
            return connection.fail(ErrorCode.PROTOCOL_ERROR, "a wrong MAX_FRAME_SIZE");
          break;
        case Setting.maxHeaderListSize:
          connection.sender.headerListBytesMax = value;
          break;
      }
    }
    if (initialWindow >= 0 && !connection.sender.changeInitialWindow(connection.streams.values(), initialWindow)) {
      return connection.fail(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window overflows");
    }
    connection.sender.settingsAck();
    connection.onSettings();
    return !connection.isClosed;
  }

  #onPing(flags: number, streamId: number, source: Buffer, start: number, end: number): boolean {
    const connection = this.#connection;
    if (streamId !== 0) return connection.fail(ErrorCode.PROTOCOL_ERROR, "PING on a stream");
    if (end - start !== 8) return connection.fail(ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong length");
    if (!this.#pay()) return false;
    if ((flags & FLAG_ACK) !== 0) connection.onPingAnswer();
    else connection.sender.ping(true, source, start);
    return !connection.isClosed;
  }

  #onGoaway(streamId: number, source: Buffer, start: number, end: number): boolean {
    const connection = this.#connection;
    if (streamId !== 0) return connection.fail(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream");
    if (end - start < 8) return connection.fail(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY too short");
    if (!this.#pay()) return false;
    const lastStreamId = source.readUInt32BE(start) & 0x7fff_ffff;
    const reason = source.toString("utf8", start + 8, Math.min(end, start + 8 + 256));
    connection.onGoaway(lastStreamId, source.readUInt32BE(start + 4), reason);
    return !connection.isClosed;
  }

  /** PRIORITY is deprecated and ignored, but for its shape (RFC 9113 section 5.3). */
  #onPriority(streamId: number, length: number): boolean {
    const connection = this.#connection;
    if (streamId === 0) return connection.fail(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0");
    if (length !== 5) {
      const stream = connection.streams.get(streamId);
      if (stream === undefined) return connection.fail(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong length");
      return this.#resetForError(stream, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong length");
    }
    return this.#pay();
  }
}
