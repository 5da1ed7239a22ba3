/** Everything the page says about states and errors: what is the matter, and what to do. */

/** @typedef {import("../ovara/connection.js").ConnectionState} ConnectionState */

/**
 * What a person can do: `retry` now, `connect` again, `sign_in`, `reload` the page, or become a `new_client`.
 * @typedef {"retry" | "connect" | "sign_in" | "reload" | "new_client"} Remedy
 */

/** Why the connection ended for good, by the code's name. @type {Record<string, {title: string, text: string, remedies: Remedy[]}>} */
const STAYS_AWAY = {
  normal: { title: "Disconnected.", text: "You can connect again at any time.", remedies: ["connect"] },
  no_token: { title: "You are signed out.", text: "Sign in again to go on. Unsent messages are kept.", remedies: ["sign_in"] },
  unauthenticated: { title: "Your sign-in has ended.", text: "Sign in again to go on. Unsent messages are kept.", remedies: ["sign_in"] },
  protocol: { title: "The page and the server do not understand each other.", text: "Reload the page to get its newest version.", remedies: ["reload"] },
  forbidden: {
    title: "This browser is signed in as somebody else.",
    text: "Reload the page to go on as that person. If that does not help, go on as a new client.",
    remedies: ["reload", "new_client"],
  },
  too_many: { title: "Too many connections are open.", text: "Close some other tabs or devices, then connect again.", remedies: ["connect"] },
  disconnected: { title: "An administrator ended this connection.", text: "Ask them why, or connect again.", remedies: ["connect"] },
  frame_too_large: { title: "Something too large was sent.", text: "Connect again, and send it in smaller parts.", remedies: ["connect"] },
};
/** What the server says when the administrator gave no reason. */
const UNTOLD = "disconnected by an administrator";
const STAYS_AWAY_UNKNOWN = {
  title: "The server ended the connection.",
  text: "Reload the page; if it happens again, tell whoever runs this server.",
  remedies: /** @type {Remedy[]} */ (["reload", "connect"]),
};

/** Why the connection is away for a while, by the code's name. @type {Record<string, string>} */
const COMES_BACK = {
  unauthenticated: "Your sign-in is being renewed.",
  idle: "The connection was idle.",
  draining: "The server restarts.",
  overloaded: "The server is very busy.",
  flood: "Too much was sent at once.",
  no_token: "The server cannot be reached.",
};

/** After these the server wants to be left alone for the time it said. */
const PATIENCE = new Set(["draining", "flood"]);

/**
 * @param {ConnectionState} state
 * @param {number} now milliseconds since 1970
 * @returns {{short: string, title: string, text: string, remedies: Remedy[]}}
 */
export function connectionWords(state, now) {
  const name = state.name ?? "";
  if (state.status === "online") return { short: "Online", title: "", text: "", remedies: [] };
  if (state.status === "connecting") return { short: "Connecting…", title: "Connecting…", text: "", remedies: [] };
  if (state.status === "reconnecting") {
    const seconds = Math.max(1, Math.ceil(((state.at ?? now) - now) / 1000));
    return {
      short: `Reconnecting in ${seconds} s`,
      title: "Connection lost.",
      text: `${COMES_BACK[name] ?? "The network or the server is away."} Reconnecting in ${seconds} s. What you write is kept and sent then.`,
      remedies: PATIENCE.has(name) ? [] : ["retry"],
    };
  }
  const words = STAYS_AWAY[name] ?? STAYS_AWAY_UNKNOWN;
  const isTold = name === "disconnected" && state.reason && state.reason !== UNTOLD;
  const reason = isTold ? ` They said: “${state.reason}”.` : "";
  const code = state.code ? ` (Code ${state.code}.)` : "";
  return { short: "Offline", title: words.title, text: `${words.text}${reason}${code}`, remedies: words.remedies };
}

/** Why something could not be done, by the error's code. @type {Record<string, string>} */
const ERRORS = {
  disconnected: "The connection was lost. Try again when you are online.",
  offline: "There is no connection. Connect again, then retry.",
  timeout: "The server did not answer. Try again.",
  unauthenticated: "You are signed out. Sign in again.",
  forbidden: "You are not allowed to do this.",
  not_found: "This conversation is not there, or you no longer take part in it.",
  too_large: "This is too long. Shorten it, or send it in parts.",
  rate_limited: "That was too fast. Wait a moment, then try again.",
  overloaded: "The server is very busy. Try again in a moment.",
  internal: "Something went wrong on the server. Try again.",
  network: "The server cannot be reached. Check your network, then try again.",
};

/** @param {any} error an OvaraError, an ApiError, or `{code, message}` @returns {string} */
export function errorWords(error) {
  const details = Object.values(error.fields ?? {}).flat(2).map(String);
  if (details.length > 0) return details.join(" ");
  if (error.code === "invalid") return `The server did not accept this: ${error.message} Change it, then try again.`;
  return ERRORS[error.code] ?? error.message ?? "Something went wrong. Reload the page, then try again.";
}

/** @param {string[]} names @returns {string} */
export function namesTyping(names) {
  if (names.length === 0) return "";
  if (names.length === 1) return `${names[0]} is typing…`;
  if (names.length === 2) return `${names[0]} and ${names[1]} are typing…`;
  return `${names.length} people are typing…`;
}

/** @param {{username: string, state: string}[]} others present ones @param {number} participants myself included */
export function presenceWords(others, participants) {
  if (participants === 1) return "Only you. Invite somebody to talk with.";
  if (others.length === 0) return "Nobody else is here now";
  if (others.length > 3) return `${others.length} others are here`;
  return others.map(({ username, state }) => `${username} is ${state === "away" ? "away" : "here"}`).join(", ");
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

/** @param {string} moment RFC 3339 */
export const timeOfDay = (moment) => TIME.format(new Date(moment));

/** @param {string} moment RFC 3339 */
export function day(moment) {
  const date = new Date(moment);
  return date.toDateString() === new Date().toDateString() ? "Today" : DAY.format(date);
}
