import { OvaraError } from "../ovara/ovara.js";

/** A refusal of the REST interface: `{detail, code, fields?}`. */
export class ApiError extends Error {
  /** @param {number} status @param {{detail?: string, code?: string, fields?: object}} body */
  constructor(status, { detail, code, fields }) {
    super(detail ?? `The server answered with status ${status}.`);
    this.name = "ApiError";
    this.status = status;
    this.code = code ?? (status === 401 ? "unauthenticated" : "internal");
    this.fields = fields;
  }
}

/** REST by the Django session; changes carry the CSRF token. */
export class Api {
  /** @returns {Promise<string>} an access token; it lives in memory only */
  async token() {
    try {
      return (await this.#call("POST", "/api/token/session/")).access;
    } catch (error) {
      const { status } = /** @type {ApiError} */ (error);
      if (status === 401 || status === 403) throw new OvaraError("unauthenticated", "signed out");
      throw error;
    }
  }

  /** @returns {Promise<any[]>} all of them, over all pages */
  async conversations() {
    const all = [];
    for (let path = "/api/conversations?page_size=100"; path; ) {
      const { results, next } = await this.#call("GET", path);
      all.push(...results);
      path = next ? sameOriginPath(next) : "";
    }
    return all;
  }

  /** @param {string} id */
  conversation(id) {
    return this.#call("GET", `/api/conversations/${id}`);
  }

  /** @param {{title?: string, participants: string[]}} fields */
  createConversation(fields) {
    return this.#call("POST", "/api/conversations", fields);
  }

  /** @param {string} id @param {string} username */
  invite(id, username) {
    return this.#call("POST", `/api/conversations/${id}/participants`, { username });
  }

  /** @param {string} id @param {string} username */
  removeParticipant(id, username) {
    return this.#call("DELETE", `/api/conversations/${id}/participants/${encodeURIComponent(username)}`);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<any>} rejects with an ApiError
   */
  async #call(method, path, body) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (method !== "GET") headers["X-CSRFToken"] = csrfToken();
    if (body) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method, headers, body: body && JSON.stringify(body), credentials: "same-origin" });
    } catch (error) {
      throw new ApiError(0, { code: "network", detail: `The server cannot be reached (${/** @type {Error} */ (error).message}).` });
    }
    const isJson = response.headers.get("Content-Type")?.includes("json");
    const content = isJson ? await response.json() : {};
    if (!response.ok) throw new ApiError(response.status, content);
    return content;
  }
}

/** Read for every call: signing in elsewhere in this browser changes it. */
function csrfToken() {
  const cookie = document.cookie.split("; ").find((pair) => pair.startsWith("csrftoken="));
  return cookie ? decodeURIComponent(cookie.slice("csrftoken=".length)) : "";
}

/** The server may know itself by another name than the browser does. @param {string} address */
function sameOriginPath(address) {
  const { pathname, search } = new URL(address, location.href);
  return pathname + search;
}
