import assert from "node:assert/strict";
import { test } from "node:test";
import { NOTHING, refusal, setUp } from "./fakes.mjs";

const ROOM = "room-1";

/** Connected, and joined to a conversation that holds `stored` messages. */
async function joined({ stored = 0, ...options } = {}) {
  const all = setUp(options);
  for (let count = 0; count < stored; count += 1) all.server.store(ROOM);
  await all.connect();
  const joining = all.client.join(ROOM);
  await all.clock.advance(50);
  return { ...all, joinAnswer: await joining };
}

test("join says where the conversation stands, and hands on only what comes after", async () => {
  const { server, clock, delivered, joinAnswer } = await joined({ stored: 3 });
  assert.deepEqual(joinAnswer, { conversation_id: ROOM, sequence: 3, epoch: "epoch-1", presence: [], anew: true });
  server.publish(server.store(ROOM));
  await clock.advance(10);
  assert.deepEqual(delivered, [4]);
});

test("a join asked for without a connection is answered when there is one", async () => {
  const { client, clock } = setUp();
  const joining = client.join(ROOM);
  client.connect();
  await clock.advance(50);
  assert.equal((await joining).anew, true);
});

test("an application that has the messages already joins with since and epoch", async () => {
  const { client, server, clock, delivered, connect } = setUp();
  for (let count = 0; count < 5; count += 1) server.store(ROOM);
  await connect();
  const joining = client.join(ROOM, { since: 2, epoch: "epoch-1" });
  await clock.advance(50);
  assert.equal((await joining).anew, false);
  assert.deepEqual(delivered, [3, 4, 5]);
});

test("early arrivals are held until the missing one comes, and nothing is asked for", async () => {
  const { server, clock, delivered } = await joined();
  const [first, second, third] = [server.store(ROOM), server.store(ROOM), server.store(ROOM)];
  server.publish(third);
  server.publish(second);
  await clock.advance(100);
  assert.deepEqual(delivered, []);
  server.publish(first);
  await clock.advance(1000);
  assert.deepEqual(delivered, [1, 2, 3]);
  assert.equal(server.frames("history").length, 0);
});

test("a gap that stays is filled by history", async () => {
  const { server, clock, delivered } = await joined({ stored: 2 });
  server.store(ROOM);
  server.store(ROOM);
  server.publish(server.store(ROOM));
  await clock.advance(300);
  assert.deepEqual(server.frames("history").map(({ after }) => after), [2]);
  assert.deepEqual(delivered, [3, 4, 5]);
});

test("a lost last message is noticed by conversation_updated", async () => {
  const { server, clock, delivered } = await joined({ stored: 1 });
  server.store(ROOM);
  server.say({ type: "conversation_updated", conversation_id: ROOM, title: "", last_sequence: 2, unread: 1 });
  await clock.advance(300);
  assert.deepEqual(delivered, [2]);
});

test("repeats are dropped", async () => {
  const { server, clock, delivered } = await joined();
  const message = server.store(ROOM);
  for (let count = 0; count < 3; count += 1) server.publish(message);
  server.publish(server.store(ROOM));
  server.publish(message);
  await clock.advance(1000);
  assert.deepEqual(delivered, [1, 2]);
});

test("a history that cannot be had at first is asked for again until the gap is filled", async () => {
  const { server, clock, delivered } = await joined();
  server.override.history = () => {
    throw refusal("internal");
  };
  server.override.join = () => {
    throw refusal("overloaded");
  };
  server.store(ROOM);
  server.publish(server.store(ROOM));
  await clock.advance(20_000);
  assert.deepEqual(delivered, []);
  server.override = {};
  await clock.advance(30_000);
  assert.deepEqual(delivered, [1, 2]);
});

test("after a reconnect every joined conversation is joined with since and epoch, and what was missed comes first", async () => {
  const { client, server, clock, delivered } = await joined({ stored: 2 });
  client.join("room-2");
  await clock.advance(20);
  server.cut();
  server.store(ROOM);
  server.store(ROOM);
  await clock.advance(600);
  const joins = server.socket.received.filter(({ type }) => type === "join");
  assert.deepEqual(joins.map(({ conversation_id, since, epoch }) => [conversation_id, since, epoch]), [
    [ROOM, 2, "epoch-1"],
    ["room-2", 0, "epoch-1"],
  ]);
  server.publish(server.store(ROOM));
  await clock.advance(20);
  assert.deepEqual(delivered, [3, 4, 5]);
});

test("more than one answer holds is fetched by history before live messages are passed on", async () => {
  const { server, clock, delivered } = await joined();
  server.cut();
  for (let count = 0; count < 450; count += 1) server.store(ROOM);
  const history = server.answers.history;
  server.override.history = (socket, frame) => {
    if (frame.after === 200) server.publish(server.store(ROOM));
    return history(socket, frame);
  };
  await clock.advance(600);
  assert.deepEqual(server.frames("history").map(({ after, limit }) => [after, limit]), [[200, 200], [400, 200]]);
  assert.deepEqual(delivered, Array.from({ length: 451 }, (_, index) => index + 1));
});

test("until its join is answered nothing is asked for or handed on, whatever other frames tell", async () => {
  const { client, server, clock, delivered } = await joined();
  const joins = [];
  client.on("joined", ({ conversation_id }) => joins.push([conversation_id, ...delivered]));
  const join = server.answers.join;
  server.override.join = (socket, frame) => {
    clock.setTimeout(() => socket.say({ type: "ack", id: frame.id, ...join(socket, frame) }), 2000);
    return { id: "nobody's" };
  };
  server.cut();
  server.store(ROOM);
  await clock.advance(600);
  server.say({ type: "conversation_updated", conversation_id: ROOM, title: "", last_sequence: 1, unread: 1 });
  await clock.advance(1000);
  assert.deepEqual(delivered, []);
  assert.equal(server.frames("history").length, 0);
  await clock.advance(1000);
  assert.deepEqual(joins, [[ROOM]]);
  assert.deepEqual(delivered, [1]);
});

test("another epoch, or a position beyond the newest, starts anew", async () => {
  const { client, server, clock, delivered } = await joined({ stored: 5 });
  const answers = [];
  client.on("joined", ({ anew, sequence, epoch }) => answers.push([anew, sequence, epoch]));
  server.cut();
  server.conversation(ROOM).epoch = "epoch-2";
  server.conversation(ROOM).messages.splice(3);
  await clock.advance(600);
  server.cut();
  server.conversation(ROOM).messages.splice(1);
  await clock.advance(1200);
  assert.deepEqual(answers, [[true, 3, "epoch-2"], [true, 1, "epoch-2"]]);
  server.publish(server.store(ROOM));
  await clock.advance(20);
  assert.deepEqual(delivered, [2]);
});

test("what was held of an earlier epoch is never handed on", async () => {
  const { client, server, clock } = await joined({ stored: 2 });
  const contents = [];
  client.on("message", ({ message }) => contents.push(message.content));
  server.store(ROOM);
  server.publish(server.store(ROOM, { content: "old" }));
  server.cut();
  server.conversation(ROOM).epoch = "epoch-2";
  server.conversation(ROOM).messages.splice(1);
  await clock.advance(600);
  for (const content of ["2", "3", "4"]) server.publish(server.store(ROOM, { content }));
  await clock.advance(20);
  assert.deepEqual(contents, ["2", "3", "4"]);
});

test("a steady stream of later messages does not put off the filling of a gap", async () => {
  const { server, clock, delivered } = await joined();
  server.store(ROOM);
  for (let count = 0; count < 4; count += 1) {
    server.publish(server.store(ROOM));
    await clock.advance(100);
  }
  assert.deepEqual(delivered, [1, 2, 3, 4, 5]);
});

test("resync compares, and fills what was lost on the way", async () => {
  const { server, clock, delivered } = await joined({ random: () => 0.5 });
  server.store(ROOM);
  server.say({ type: "resync" });
  await clock.advance(900);
  assert.deepEqual(delivered, []);
  await clock.advance(200);
  assert.deepEqual(delivered, [1]);
});

test("what comes for a conversation that was left is dropped, and it is not joined again", async () => {
  const { client, server, clock, delivered } = await joined();
  await Promise.all([client.leave(ROOM), clock.advance(20)]);
  server.publish(server.store(ROOM));
  server.cut();
  await clock.advance(1000);
  assert.deepEqual(delivered, []);
  assert.equal(server.frames("join").length, 1);
});

test("what is left while its join is under way is not joined, and hands on nothing", async () => {
  const { client, server, clock, delivered, connect } = setUp();
  server.store(ROOM);
  await connect();
  const heard = [];
  client.on("joined", ({ conversation_id }) => heard.push(conversation_id));
  const join = server.answers.join;
  server.override.join = (socket, frame) => {
    clock.setTimeout(() => socket.say({ type: "ack", id: frame.id, ...join(socket, frame) }), 500);
    return { id: "nobody's" };
  };
  const joining = assert.rejects(client.join(ROOM, { since: 0, epoch: "epoch-1" }), { code: "discarded" });
  await clock.advance(100);
  await Promise.all([joining, client.leave(ROOM), clock.advance(1000)]);
  assert.deepEqual(heard, []);
  assert.deepEqual(delivered, []);
});

test("a conversation that is not there rejects the join, and is not joined again", async () => {
  const { client, server, clock, connect } = setUp();
  await connect();
  server.override.join = () => {
    throw refusal("not_found");
  };
  const failures = [];
  client.on("join_failed", ({ error }) => failures.push(error.code));
  const joining = assert.rejects(client.join(ROOM), { code: "not_found" });
  await clock.advance(20);
  await joining;
  server.cut();
  await clock.advance(1000);
  assert.equal(server.frames("join").length, 1);
  assert.deepEqual(failures, ["not_found"]);
});

test("a join that the server cannot take just now is tried again", async () => {
  const { client, server, clock, connect } = setUp();
  await connect();
  let refusals = 2;
  server.override.join = (socket, frame) => {
    if ((refusals -= 1) >= 0) throw refusal("overloaded");
    return server.answers.join(socket, frame);
  };
  const joining = client.join(ROOM);
  await clock.advance(2000);
  assert.equal((await joining).sequence, 0);
});

test("removal from a conversation ends it", async () => {
  const { client, server, clock, delivered } = await joined();
  const heard = [];
  client.on("conversation_removed", ({ conversation_id }) => heard.push(conversation_id));
  server.say({ type: "conversation_removed", conversation_id: ROOM });
  server.publish(server.store(ROOM));
  server.cut();
  await clock.advance(1000);
  assert.deepEqual(heard, [ROOM]);
  assert.deepEqual(delivered, []);
  assert.equal(server.frames("join").length, 1);
});

test("answers may come in any order across conversations", async () => {
  const { client, server, clock, connect } = setUp();
  server.store("slow");
  await connect();
  const join = server.answers.join;
  server.override.join = (socket, frame) => {
    const fields = join(socket, frame);
    if (frame.conversation_id !== "slow") return fields;
    clock.setTimeout(() => socket.say({ type: "ack", id: frame.id, ...fields }), 500);
    return { id: "nobody's" };
  };
  const slow = client.join("slow");
  const quick = client.join("quick");
  await clock.advance(100);
  assert.equal((await quick).sequence, 0);
  await clock.advance(500);
  assert.equal((await slow).sequence, 1);
});

test("read positions and session state that could not be said are said on the next connection, the last ones only", async () => {
  const { client, server, clock } = await joined({ stored: 9 });
  server.cut();
  await clock.advance(10);
  client.read(ROOM, 4);
  client.read(ROOM, 7);
  client.read(ROOM, 5);
  client.setState({ draft: "a" });
  client.setState({ draft: "ab" });
  assert.deepEqual(client.state, { draft: "ab" });
  await clock.advance(1000);
  assert.deepEqual(server.frames("read").map(({ sequence }) => sequence), [7]);
  assert.deepEqual(server.frames("state").map(({ state }) => state), [{ draft: "ab" }]);
  server.cut();
  await clock.advance(2000);
  assert.equal(server.frames("read").length, 1);
  assert.equal(server.frames("state").length, 1);
});

test("what the server leaves unanswered is said on the next connection, what it refuses is not", async () => {
  const { client, server, clock } = await joined();
  server.override.read = () => NOTHING;
  server.override.state = () => {
    throw refusal("invalid");
  };
  client.read(ROOM, 3);
  client.setState({ open: "a" });
  await clock.advance(60_000);
  const before = [server.frames("read").length, server.frames("state").length];
  server.override = {};
  server.cut();
  await clock.advance(1000);
  assert.equal(server.frames("read").length, before[0] + 1);
  assert.equal(server.frames("read").at(-1).sequence, 3);
  assert.equal(server.frames("state").length, before[1]);
});

test("the state is what was set here, before and after the server knows it", async () => {
  const { client, clock } = await joined();
  client.setState({ draft: "a" });
  assert.deepEqual(client.state, { draft: "a" });
  await clock.advance(50);
  assert.deepEqual(client.state, { draft: "a" });
});

test("the other tabs' state and their number are taken over", async () => {
  const { client, server, clock, connect } = setUp();
  await connect();
  server.say({ type: "client_connections", count: 3 });
  server.say({ type: "state", state: { draft: "elsewhere" } });
  await clock.advance(10);
  assert.equal(client.clientConnections, 3);
  assert.deepEqual(client.state, { draft: "elsewhere" });
});

test("a publication of server code is an event, but cannot pass for one of the library's own", async () => {
  const { client, server, clock, connect, states } = setUp();
  await connect();
  const heard = [];
  client.on("invoice_paid", (frame) => heard.push(frame.amount));
  client.on("frame", ({ type }) => heard.push(type));
  const before = states.length;
  server.say({ type: "invoice_paid", amount: 5 });
  server.say({ type: "connection", status: "offline" });
  await clock.advance(10);
  assert.deepEqual(heard, ["invoice_paid", 5, "connection"]);
  assert.equal(states.length, before);
});
