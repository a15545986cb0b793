/**
 * Messages that have come and wait to be read, for one reader: an async iterator, or a callback that takes them as they come. Bytes of waiting
 * messages are not granted to the peer again, so a reader that stops reading stops the peer, and the stream's window bounds the box.
 */

/** Takes messages as they come. */
export interface MessageListener<Message> {
  onMessage(message: Message): void;
  /** No more will come. `error`, an RpcError: the call failed. */
  onEnd(error: Error | undefined): void;
}

interface Waiter<Message> {
  resolve(result: IteratorResult<Message, undefined>): void;
  reject(error: Error): void;
}

/** Received messages on their way to one reader. */
export class Inbox<Message> implements AsyncIterator<Message, undefined> {
  readonly #consumed: (windowBytes: number, messageBytes: number) => void;
  readonly #onAbandoned: () => void;
  #messages: Message[] = [];
  /** For each message, its bytes that the window still lacks, and all its bytes, in turn. */
  #bytes: number[] = [];
  #first = 0;
  #waiters: Waiter<Message>[] | undefined;
  #listener: MessageListener<Message> | undefined;
  #isEnded = false;
  #error: Error | undefined;

  /** consumed: so many bytes may be granted again, of messages that were so long together. onAbandoned: the iterator was left before the end. */
  constructor(consumed: (windowBytes: number, messageBytes: number) => void, onAbandoned: () => void) {
    this.#consumed = consumed;
    this.#onAbandoned = onAbandoned;
  }

  /** Adds a message. Returns true if it was taken at once: then the caller grants its bytes, else `consumed` tells when it is read. */
  add(message: Message, windowBytes: number, messageBytes: number): boolean {
    if (this.#isEnded) return true;
    if (this.#listener !== undefined) {
      this.#listener.onMessage(message);
      return true;
    }
    const waiter = this.#waiters?.shift();
    if (waiter !== undefined) {
      waiter.resolve({ value: message, done: false });
      return true;
    }
    this.#messages.push(message);
    this.#bytes.push(windowBytes, messageBytes);
    return false;
  }

  /** No more will come. After an error what still waits is dropped. */
  end(error: Error | undefined): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#error = error;
    if (error !== undefined) this.drop();
    this.#listener?.onEnd(error);
    for (const waiter of this.#waiters ?? []) {
      if (error === undefined) waiter.resolve({ value: undefined, done: true });
      else waiter.reject(error);
    }
    this.#waiters = undefined;
  }

  /** Drops what waits: nobody will read it. */
  drop(): void {
    if (this.#first === this.#messages.length) return;
    let windowBytes = 0;
    let messageBytes = 0;
    for (let i = this.#first * 2; i < this.#bytes.length; i += 2) {
      windowBytes += this.#bytes[i]!;
      messageBytes += this.#bytes[i + 1]!;
    }
    this.#messages = [];
    this.#bytes = [];
    this.#first = 0;
    this.#consumed(windowBytes, messageBytes);
  }

  /** Gives all messages, those that wait first, to a listener. */
  listen(listener: MessageListener<Message>): void {
    while (this.#first < this.#messages.length) listener.onMessage(this.#shift());
    if (this.#isEnded) listener.onEnd(this.#error);
    else this.#listener = listener;
  }

  next(): Promise<IteratorResult<Message, undefined>> {
    if (this.#first < this.#messages.length) return Promise.resolve({ value: this.#shift(), done: false });
    if (this.#isEnded) {
      return this.#error === undefined ? Promise.resolve({ value: undefined, done: true }) : Promise.reject(this.#error);
    }
    return new Promise((resolve, reject) => (this.#waiters ??= []).push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<Message, undefined>> {
    if (!this.#isEnded) {
      this.#isEnded = true;
      // Who still waits for a message gets none: after the end nobody else would say so.
      for (const waiter of this.#waiters ?? []) waiter.resolve({ value: undefined, done: true });
      this.#waiters = undefined;
      this.#onAbandoned();
    }
    this.drop();
    return Promise.resolve({ value: undefined, done: true });
  }

  #shift(): Message {
    const message = this.#messages[this.#first]!;
    const windowBytes = this.#bytes[this.#first * 2]!;
    const messageBytes = this.#bytes[this.#first * 2 + 1]!;
    this.#first++;
    if (this.#first === this.#messages.length) {
      this.#messages = [];
      this.#bytes = [];
      this.#first = 0;
    } else if (this.#first >= 1024) {
      this.#messages.splice(0, this.#first);
      this.#bytes.splice(0, this.#first * 2);
      this.#first = 0;
    }
    this.#consumed(windowBytes, messageBytes);
    return message;
  }
}
