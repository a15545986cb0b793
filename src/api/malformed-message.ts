/** What a decoder throws at bytes that are no message of its type, the only thing that it throws. */

/** Bytes that cannot be decoded. `message` says what is wrong with them. */
export class MalformedMessage extends Error {
  override readonly name = "MalformedMessage";
}
