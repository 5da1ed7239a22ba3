/**
 * The browser client of Ovara, protocol v1. The only module that applications import:
 *
 *     import { OvaraClient } from "./ovara/ovara.js";
 *     const client = new OvaraClient({ account: user.id, token: async () => (await fetchToken()).access });
 *     client.on("message", ({ conversation_id, message }) => show(message));
 *     client.connect();
 *     await client.join(conversationId);
 *     const stored = await client.send(conversationId, "Hello");
 */
export { OvaraClient } from "./client.js";
export { CLOSE_CODES } from "./close_codes.js";
export { OvaraError } from "./errors.js";
