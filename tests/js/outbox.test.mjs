import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryStorage } from "../../frontend/static/frontend/ovara/identity.js";
import { ALICE, NOTHING, refusal, setUp } from "./fakes.mjs";

const ROOM = "room-1";

/** Connected and joined, with a log of what the outbox told. */
async function joined(options) {
  const all = setUp(options);
  const told = [];
  all.client.on("outbox", ({ entry }) => told.push([entry.content, entry.status]));
  await all.connect();
  all.client.join(ROOM);
  await all.clock.advance(50);
  return { ...all, told };
}

const contents = (server) => server.conversation(ROOM).messages.map(({ content }) => content);

test("send resolves with the stored message, which is handed on like any other", async () => {
  const { client, clock, delivered, told } = await joined();
  const sending = client.send(ROOM, "hello", { metadata: { mood: "good" } });
  await clock.advance(50);
  const message = await sending;
  assert.equal(message.sequence, 1);
  assert.equal(message.client_message_id, "message-1");
  assert.deepEqual(delivered, [1]);
  assert.deepEqual(told, [["hello", "sending"], ["hello", "sent"]]);
  assert.deepEqual(client.pending(ROOM), []);
});

test("an unacknowledged message is sent again after a reconnect, with the same id, and stored once", async () => {
  const { client, server, clock, delivered } = await joined();
  server.override.message = (_socket, { conversation_id, content, client_message_id }) => {
    server.store(conversation_id, { content, client_message_id, sender: ALICE });
    server.cut();
    return NOTHING;
  };
  const sending = client.send(ROOM, "hello");
  await clock.advance(20);
  server.override = {};
  // As if the recovery did not bring it: then the repeat must be recognised by its id.
  server.override.join = () => ({ sequence: 0, epoch: "epoch-1", presence: [], recovered: true, messages: [] });
  await clock.advance(1000);
  assert.equal((await sending).sequence, 1);
  assert.deepEqual(server.frames("message").map(({ client_message_id }) => client_message_id), ["message-1", "message-1"]);
  assert.deepEqual(contents(server), ["hello"]);
  assert.deepEqual(delivered, [1]);
});

test("a message whose acknowledgement was lost is settled by the recovery, without sending it again", async () => {
  const { client, server, clock, delivered, told } = await joined();
  server.override.message = (_socket, { conversation_id, content, client_message_id }) => {
    server.store(conversation_id, { content, client_message_id, sender: ALICE });
    server.cut();
    return NOTHING;
  };
  const sending = client.send(ROOM, "hello");
  await clock.advance(1000);
  assert.equal((await sending).sequence, 1);
  assert.equal(server.frames("message").length, 1);
  assert.deepEqual(delivered, [1]);
  assert.deepEqual(told.at(-1), ["hello", "sent"]);
});

test("what is written without a connection leaves in order when there is one, after the conversation was joined", async () => {
  const { client, server, clock } = await joined();
  server.up = false;
  server.cut();
  await clock.advance(10);
  for (const content of ["one", "two", "three"]) client.send(ROOM, content);
  client.send("elsewhere", "four");
  await clock.advance(5000);
  server.up = true;
  await clock.advance(10_000);
  assert.deepEqual(contents(server), ["one", "two", "three"]);
  assert.equal(server.conversation("elsewhere").messages.length, 1);
  const types = server.socket.received.filter((frame) => frame.conversation_id === ROOM).map(({ type }) => type);
  assert.deepEqual(types, ["join", "message", "message", "message"]);
});

test("a refused message fails, the next ones go on, and a retry keeps the id", async () => {
  const { client, server, clock, told } = await joined();
  server.override.message = (socket, frame) => {
    if (frame.content === "bad") throw refusal("invalid");
    return server.answers.message(socket, frame);
  };
  const failing = assert.rejects(client.send(ROOM, "bad"), { code: "invalid", clientMessageId: "message-1" });
  client.send(ROOM, "good");
  await clock.advance(50);
  await failing;
  assert.deepEqual(contents(server), ["good"]);
  assert.deepEqual(client.pending(ROOM).map(({ status, error }) => [status, error.code]), [["failed", "invalid"]]);
  server.override = {};
  const retrying = client.retry("message-1");
  assert.equal(client.pending(ROOM)[0].error, undefined);
  await clock.advance(50);
  assert.equal((await retrying).client_message_id, "message-1");
  assert.deepEqual(contents(server), ["good", "bad"]);
  assert.deepEqual(told.filter(([content]) => content === "bad").map(([, status]) => status), ["sending", "failed", "sending", "sent"]);
});

test("a failed message can be taken back", async () => {
  const { client, server, clock } = await joined();
  server.override.message = () => {
    throw refusal("forbidden");
  };
  const failing = assert.rejects(client.send(ROOM, "bad"), { code: "forbidden" });
  await clock.advance(50);
  await failing;
  client.discard("message-1");
  assert.deepEqual(client.pending(ROOM), []);
  await assert.rejects(client.retry("message-1"), { code: "invalid" });
});

test("rate_limited waits as long as it says, then sends in the same order", async () => {
  const { client, server, clock } = await joined();
  let refusals = 2;
  server.override.message = (socket, frame) => {
    if ((refusals -= 1) >= 0) throw refusal("rate_limited", 3);
    return server.answers.message(socket, frame);
  };
  client.send(ROOM, "one");
  client.send(ROOM, "two");
  await clock.advance(10_000);
  assert.deepEqual(contents(server), ["one", "two"]);
  const [first, second, third] = server.frames("message").map(({ at }) => at);
  assert.ok(second - first >= 3000 && third - second >= 3000);
  assert.equal(server.frames("message").length, 4);
});

test("overloaded, internal and silence are tried again, more slowly each time, and fail in the end", async () => {
  const { client, server, clock, told } = await joined();
  server.override.message = () => {
    throw refusal("overloaded");
  };
  const failing = assert.rejects(client.send(ROOM, "hello"), { code: "overloaded" });
  await clock.advance(120_000);
  await failing;
  const times = server.frames("message").map(({ at }) => at);
  const waits = times.slice(1).map((at, index) => at - times[index]);
  assert.equal(times.length, 8);
  assert.ok(waits.every((wait, index) => index === 0 || wait > waits[index - 1] || wait > 19_000));
  assert.deepEqual(told.at(-1), ["hello", "failed"]);
});

test("a connection that ends for good fails what waits, and a retry after connect() sends it", async () => {
  const { client, server, clock, told } = await joined();
  server.override.message = () => NOTHING;
  const failing = assert.rejects(client.send(ROOM, "hello"), { code: "offline" });
  await clock.advance(10);
  server.disconnect(4510);
  await clock.advance(20);
  await failing;
  await assert.rejects(client.send(ROOM, "later"), { code: "offline" });
  assert.deepEqual(told.at(-1), ["later", "failed"]);
  server.override = {};
  client.connect();
  await clock.advance(50);
  client.retry("message-1");
  client.retry("message-2");
  await clock.advance(50);
  assert.deepEqual(contents(server), ["hello", "later"]);
});

test("unsent messages outlive a reload of the page", async () => {
  const outboxStorage = memoryStorage();
  const before = await joined({ outboxStorage });
  before.server.override.message = () => NOTHING;
  before.client.send(ROOM, "hello");
  await before.clock.advance(20);
  const after = setUp({ outboxStorage });
  assert.deepEqual(after.client.pending(ROOM).map(({ content, status }) => [content, status]), [["hello", "sending"]]);
  await after.connect();
  assert.deepEqual(after.server.frames("message").map(({ client_message_id }) => client_message_id), ["message-1"]);
  assert.deepEqual(after.client.pending(ROOM), []);
  assert.equal(outboxStorage.getItem(`ovara:${ALICE.id}:outbox`), null);
});

test("a crowd of joins and messages after a reconnect stays below the limits of welcome", async () => {
  const { client, server, clock, connect } = setUp();
  await connect();
  for (let count = 0; count < 150; count += 1) client.join(`room-${count}`);
  await clock.advance(20_000);
  server.cut();
  await clock.advance(10);
  for (let count = 0; count < 150; count += 1) client.send(`room-${count}`, "hello");
  await clock.advance(30_000);
  const times = server.socket.received.map(({ at }) => at);
  assert.equal(server.socket.received.filter(({ type }) => type === "message").length, 150);
  for (const start of times) {
    const within = times.filter((at) => at >= start && at < start + 1000).length;
    assert.ok(within <= 40 + 20, `${within} frames in one second`);
  }
  const span = (times.at(-1) - times[0]) / 1000;
  assert.ok(times.length <= 40 + 20 * span, `${times.length} frames in ${span} s`);
});

test("a ping does not wait behind the queue", async () => {
  const { client, server, clock, connect } = setUp();
  await connect();
  server.cut();
  for (let count = 0; count < 100; count += 1) client.join(`room-${count}`);
  await clock.advance(600);
  assert.equal(server.socket.received.filter(({ type }) => type === "ping").length, 1);
});

test("typing is dropped rather than queued", async () => {
  const { client, server, clock } = await joined();
  for (let count = 0; count < 100; count += 1) client.typing(ROOM, true);
  await clock.advance(10_000);
  assert.ok(server.frames("typing").length < 40);
  assert.equal(server.frames("typing")[0].id, undefined);
});

test("a frame over the server's limit is refused here, where it does no harm", async () => {
  const { client, server, clock } = await joined();
  server.welcome = { limits: { max_frame_bytes: 1000, frames_per_second: 20, burst: 40 } };
  server.cut();
  await clock.advance(1000);
  const failing = assert.rejects(client.send(ROOM, "ä".repeat(600)), { code: "too_large" });
  await clock.advance(50);
  await failing;
  assert.equal(server.frames("message").length, 0);
});
