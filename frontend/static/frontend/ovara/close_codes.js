/**
 * The close codes of the wire, with the advice that each carries.
 *
 * A test compares this table with the server's: one line each, nothing computed.
 * reconnect: "yes" (with backoff), "after_new_token", or "no" (stay away).
 */
export const CLOSE_CODES = Object.freeze([
  { code: 1000, name: "normal", reconnect: "no" },
  { code: 4401, name: "unauthenticated", reconnect: "after_new_token" },
  { code: 4408, name: "idle", reconnect: "yes" },
  { code: 4412, name: "draining", reconnect: "yes" },
  { code: 4413, name: "overloaded", reconnect: "yes" },
  { code: 4429, name: "flood", reconnect: "yes" },
  { code: 4500, name: "protocol", reconnect: "no" },
  { code: 4503, name: "forbidden", reconnect: "no" },
  { code: 4509, name: "too_many", reconnect: "no" },
  { code: 4510, name: "disconnected", reconnect: "no" },
  { code: 4511, name: "frame_too_large", reconnect: "no" },
]);

const NORMAL = 1000;
const MESSAGE_TOO_BIG = 1009;
const FIRST_OWN_CODE = 4000;
const FIRST_STAY_AWAY_CODE = 4500;

/**
 * Whether to come back after a close. Known codes by the table; of unknown ones the range tells, so
 * that an old client does right with a new code.
 *
 * @param {number} code
 * @param {boolean} announced whether a `disconnect` frame came before the close
 * @returns {"yes" | "after_new_token" | "no"}
 */
export function reconnectAdvice(code, announced) {
  if (code === NORMAL) return announced ? "no" : "yes";
  const known = CLOSE_CODES.find((entry) => entry.code === code);
  if (known) return /** @type {"yes" | "after_new_token" | "no"} */ (known.reconnect);
  if (code < FIRST_OWN_CODE) return code === MESSAGE_TOO_BIG ? "no" : "yes";
  return code < FIRST_STAY_AWAY_CODE ? "yes" : "no";
}

/**
 * @param {number} code
 * @returns {string} the code's name, or "unknown"
 */
export function closeCodeName(code) {
  return CLOSE_CODES.find((entry) => entry.code === code)?.name ?? "unknown";
}
