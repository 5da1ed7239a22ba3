/**
 * What a call of the library rejects with.
 *
 * `code` is an error code of the wire (`not_found`, `rate_limited`, …) or one of the library's own:
 * `disconnected` (the connection went away before the answer), `timeout` (no answer in time),
 * `offline` (the client stays away), `discarded` (the message was taken back).
 */
export class OvaraError extends Error {
  /**
   * @param {string} code
   * @param {string} message what happened, and what to do
   * @param {{retryAfter?: number, clientMessageId?: string}} [details] retryAfter in seconds
   */
  constructor(code, message, { retryAfter, clientMessageId } = {}) {
    super(message);
    this.name = "OvaraError";
    this.code = code;
    this.retryAfter = retryAfter;
    this.clientMessageId = clientMessageId;
  }
}

/** @param {{code: string, message: string, retry_after?: number}} frame an `error` frame */
export function errorFromFrame(frame) {
  return new OvaraError(frame.code, frame.message, { retryAfter: frame.retry_after });
}
