/** The bounds and waiting times of a transport. What is not said has the value of TRANSPORT_LIMITS. */
export interface TransportLimits {
  /** The body of one frame. Larger ones are not sent, and a link that brings one is closed. */
  readonly frameBytesMax: number;
  /** Bytes that wait for one peer on a lane, those not yet taken by the operating system included. */
  readonly urgentBytesMax: number;
  readonly bulkBytesMax: number;
  readonly snapshotBytesMax: number;
  /** Bytes handed to a socket and not yet taken by the operating system: what urgent frames cannot overtake. */
  readonly socketBytesMax: number;
  /** A frame before the handshake is over. */
  readonly handshakeFrameBytesMax: number;
  /** From the beginning of a connection to the end of its handshake. */
  readonly handshakeTimeoutMs: number;
  /** Accepted connections whose handshake is not over: beyond this the oldest is closed. */
  readonly strangersMax: number;
  /** Accepted connections whose handshake is over. */
  readonly acceptedMax: number;
  /** Waiting time after a first failure; doubles with each further one. Half of it is random. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** After a refusal, by either side. */
  readonly backoffRefusedMs: number;
  /** How often links are looked after: a ping each way, and a look at what has not moved. */
  readonly beatMs: number;
  /** Beats without a byte from the other side, or without one taken by the operating system while some wait, before a link is given up. */
  readonly beatsSilentMax: number;
  /** Beats without use after which a snapshot connection is closed. */
  readonly beatsIdleMax: number;
}

export const TRANSPORT_LIMITS: TransportLimits = {
  frameBytesMax: 32 << 20,
  urgentBytesMax: 1 << 20,
  bulkBytesMax: 16 << 20,
  snapshotBytesMax: 4 << 20,
  socketBytesMax: 256 << 10,
  handshakeFrameBytesMax: 64 << 10,
  handshakeTimeoutMs: 5000,
  strangersMax: 64,
  acceptedMax: 256,
  backoffMinMs: 50,
  backoffMaxMs: 2000,
  backoffRefusedMs: 5000,
  beatMs: 2000,
  beatsSilentMax: 5,
  beatsIdleMax: 30,
};
