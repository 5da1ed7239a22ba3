import assert from "node:assert/strict";
import { test } from "node:test";
import { OvaraError } from "../../frontend/static/frontend/ovara/ovara.js";
import { memoryStorage } from "../../frontend/static/frontend/ovara/identity.js";
import { ALICE, BOB, NOTHING, refusal, setUp } from "./fakes.mjs";

test("it connects with the token as a subprotocol, and takes over what welcome says", async () => {
  const { client, server, statuses, connect } = setUp();
  await connect();
  assert.deepEqual(server.socket.protocols, ["ovara.v1", "ovara.jwt.token-1"]);
  assert.equal(server.socket.url.searchParams.get("token"), null);
  assert.deepEqual(statuses(), ["connecting", "online"]);
  assert.deepEqual(client.user, ALICE);
  assert.equal(client.connectionId, "connection-1");
  assert.equal(client.sessionId, "session-1");
});

test("client id and session id are kept, shared by the tabs of an account, and another account's are others", async () => {
  const storage = memoryStorage();
  const first = setUp({ storage });
  await first.connect();
  const tab = setUp({ storage });
  await tab.connect();
  const other = setUp({ storage, account: BOB.id });
  await other.connect();
  const clientId = ({ server }) => server.socket.url.searchParams.get("client_id");
  assert.match(clientId(first), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(clientId(tab), clientId(first));
  assert.equal(tab.server.socket.url.searchParams.get("session_id"), "session-1");
  assert.notEqual(clientId(other), clientId(first));
  assert.equal(other.server.socket.url.searchParams.get("session_id"), null);
});

test("a cut connection comes back, each failure doubling the delay up to the greatest", async () => {
  const { server, clock, states, connect } = setUp();
  await connect();
  server.up = false;
  server.cut();
  await clock.advance(80_000);
  const delays = states.filter(({ status }) => status === "reconnecting").map(({ delay }) => delay);
  assert.deepEqual(delays.slice(0, 8), [500, 1000, 2000, 4000, 8000, 16000, 20000, 20000]);
  server.up = true;
  await clock.advance(21_000);
  assert.equal(states.at(-1).status, "online");
});

test("jitter takes away up to its share of the delay", async () => {
  const { server, clock, states, connect } = setUp({ random: () => 1 });
  await connect();
  server.cut();
  await clock.advance(6);
  assert.equal(states.at(-1).delay, 250);
  assert.equal(states.at(-1).at, clock.now() - 1 + 250);
});

test("the delay is short again only after a connection that lasted", async () => {
  const { server, clock, states, connect } = setUp();
  await connect();
  const cutAndSeeDelay = async () => {
    server.cut();
    await clock.advance(6);
    return states.at(-1).delay;
  };
  assert.equal(await cutAndSeeDelay(), 500);
  await clock.advance(600);
  assert.equal(await cutAndSeeDelay(), 1000);
  await clock.advance(1100 + 5000);
  assert.equal(await cutAndSeeDelay(), 500);
});

test("it comes back at once when the browser is online again, or the tab is shown", async () => {
  for (const signal of [(page) => page.dispatchEvent(new Event("online")), (page) => page.show("visible")]) {
    const { server, clock, page, statuses, states, connect } = setUp({ token: "a.b.c", autoAway: false });
    await connect();
    server.welcome = { reconnect: { min_delay: 15, max_delay: 20, factor: 2, jitter: 0 } };
    server.cut();
    await clock.advance(600);
    server.cut();
    await clock.advance(10);
    assert.equal(states.at(-1).delay, 20_000);
    signal(page);
    await clock.advance(20);
    assert.equal(statuses().at(-1), "online");
  }
});

test("retry_after is a least that showing the tab does not cut short, and chance adds to it", async () => {
  const { server, clock, page, states, connect } = setUp({ random: () => 1 });
  await connect();
  server.disconnect(4412, { retry_after: 3 });
  await clock.advance(10);
  assert.equal(states.at(-1).delay, 4500);
  page.show("visible");
  await clock.advance(3000);
  assert.equal(server.sockets.length, 1);
  await clock.advance(1600);
  assert.equal(states.at(-1).status, "online");
});

test("codes that say come back do so, those that say stay away do not, and unknown ones go by their range", async () => {
  const comesBack = { 1001: true, 1006: true, 1011: true, 1012: true, 1013: true, 1009: false, 4408: true, 4412: true,
    4413: true, 4429: true, 4401: true, 4499: true, 4450: true, 4500: false, 4503: false, 4509: false, 4510: false,
    4511: false, 4777: false, 4999: false };
  for (const [code, expected] of Object.entries(comesBack)) {
    const { server, clock, states, connect } = setUp();
    await connect();
    if (code < 4000) server.socket.end(Number(code));
    else server.disconnect(Number(code));
    await clock.advance(10);
    assert.equal(states.at(-1).status, expected ? "reconnecting" : "offline", `after ${code}`);
    assert.equal(states.at(-1).code, Number(code));
  }
});

test("1000 means stay away after a disconnect frame, and come back without one", async () => {
  const announced = setUp();
  await announced.connect();
  announced.server.disconnect(1000);
  await announced.clock.advance(10);
  assert.equal(announced.states.at(-1).status, "offline");
  const silent = setUp();
  await silent.connect();
  silent.server.socket.end(1000);
  await silent.clock.advance(10);
  assert.equal(silent.states.at(-1).status, "reconnecting");
});

test("the disconnect frame's code and words count where the close itself says less", async () => {
  const { server, clock, states, connect } = setUp();
  await connect();
  server.say({ type: "disconnect", code: 4510, reason: "by staff", reconnect: false });
  server.cut();
  await clock.advance(60_000);
  assert.deepEqual(states.at(-1), { status: "offline", code: 4510, name: "disconnected", reason: "by staff" });
  assert.equal(server.sockets.length, 1);
});

test("a refused connection is told why, and connect() tries anew", async () => {
  const { client, server, clock, states, connect } = setUp();
  server.refuse = { code: 4509, reconnect: false };
  await connect();
  assert.equal(states.at(-1).name, "too_many");
  server.refuse = null;
  client.connect();
  await clock.advance(50);
  assert.equal(states.at(-1).status, "online");
});

test("after 4401 it takes a new token and comes back", async () => {
  const { server, clock, statuses, connect } = setUp();
  await connect();
  server.disconnect(4401);
  await clock.advance(600);
  assert.deepEqual(server.tokens, ["token-1", "token-2"]);
  assert.equal(statuses().at(-1), "online");
});

test("after 4401 a fixed token is not tried again", async () => {
  const { server, clock, states, connect } = setUp({ token: "a.b.c" });
  await connect();
  server.disconnect(4401);
  await clock.advance(60_000);
  assert.equal(states.at(-1).status, "offline");
  assert.equal(server.sockets.length, 1);
});

test("a token source that is signed out ends in offline, one that fails otherwise is asked again", async () => {
  let failure = new OvaraError("unauthenticated", "signed out");
  const token = async () => {
    if (failure) throw failure;
    return "a.b.c";
  };
  const { client, clock, states } = setUp({ token });
  client.connect();
  await clock.advance(60_000);
  assert.deepEqual(states.at(-1), { status: "offline", code: 0, name: "no_token", reason: "signed out" });
  failure = new TypeError("network down");
  client.connect();
  await clock.advance(100);
  assert.equal(states.at(-1).status, "reconnecting");
  failure = null;
  await clock.advance(2000);
  assert.equal(states.at(-1).status, "online");
});

test("a token source that hangs does not hold up the next attempt", async () => {
  let calls = 0;
  const token = () => ((calls += 1) === 1 ? new Promise(() => {}) : "a.b.c");
  const { client, clock, statuses } = setUp({ token });
  client.connect();
  await clock.advance(16_000);
  assert.equal(calls, 2);
  assert.equal(statuses().at(-1), "online");
});

test("the token is renewed on the live connection before it ends, whatever this machine's clock says", async () => {
  for (const clockAheadMs of [0, 3_600_000, -3_600_000]) {
    const { server, clock, connect } = setUp();
    server.clockAheadMs = clockAheadMs;
    await connect();
    await clock.advance(838_000);
    assert.equal(server.frames("authenticate").length, 0);
    await clock.advance(3_000);
    assert.deepEqual(server.frames("authenticate").map(({ token }) => token), ["token-2"]);
    await clock.advance(840_000);
    assert.deepEqual(server.frames("authenticate").map(({ token }) => token), ["token-2", "token-3"]);
    assert.equal(server.sockets.length, 1);
  }
});

test("where the subprotocols are lost on the way, the token goes as a first frame", async () => {
  const { client, server, statuses, connect } = setUp();
  server.welcome = { authenticated: false, user: null, client_id: null, session: null, token_expires_at: null };
  await connect();
  assert.deepEqual(server.frames("authenticate").map(({ token }) => token), ["token-2"]);
  assert.deepEqual(statuses(), ["connecting", "online"]);
  assert.equal(client.sessionId, "session-1");
});

test("token_expiring renews the token at once", async () => {
  const { server, clock, connect } = setUp();
  await connect();
  server.say({ type: "token_expiring", expires_at: server.time(30_000) });
  await clock.advance(10);
  assert.deepEqual(server.frames("authenticate").map(({ token }) => token), ["token-2"]);
});

test("a renewal that fails is tried again, and one with another user's token ends the client", async () => {
  const { server, clock, states, connect } = setUp();
  await connect();
  server.override.authenticate = () => {
    throw refusal("unauthenticated");
  };
  server.say({ type: "token_expiring" });
  await clock.advance(6_000);
  assert.equal(server.frames("authenticate").length, 2);
  server.override.authenticate = () => {
    throw refusal("forbidden");
  };
  await clock.advance(6_000);
  assert.equal(states.at(-1).status, "offline");
  assert.equal(states.at(-1).code, 4503);
});

test("it pings at the interval of welcome, and gives up a connection that has fallen silent", async () => {
  const { server, clock, statuses, connect } = setUp();
  await connect();
  await clock.advance(50_100);
  assert.equal(server.frames("ping").length, 3);
  server.override.ping = () => NOTHING;
  await clock.advance(25_000 + 10_500);
  assert.equal(statuses().filter((status) => status === "reconnecting").length, 1);
});

test("a dead connection is found out soon after the tab is shown", async () => {
  const { server, clock, page, statuses, connect } = setUp();
  await connect();
  server.override.ping = () => NOTHING;
  server.override.away = () => NOTHING;
  page.show("hidden");
  page.show("visible");
  await clock.advance(4_600);
  assert.ok(statuses().includes("reconnecting"));
});

test("a dead connection is found out soon after the browser says that it is offline", async () => {
  const { client, server, clock, page, states, connect } = setUp();
  await connect();
  server.override.ping = () => NOTHING;
  page.dispatchEvent(new Event("offline"));
  await clock.advance(4010);
  assert.equal(states.find(({ status }) => status === "reconnecting").reason, "the server has fallen silent");
  await clock.advance(10_000);
  delete server.override.ping;
  await clock.advance(1000);
  page.dispatchEvent(new Event("offline"));
  await clock.advance(10_000);
  assert.equal(client.connection.status, "online");
});

test("an attempt that gets no welcome is given up", async () => {
  const { client, server, clock, statuses } = setUp();
  server.accept = () => {};
  client.connect();
  await clock.advance(15_001);
  assert.equal(statuses().at(-1), "reconnecting");
});

test("what an old socket still says is not heard", async () => {
  const { client, server, clock, statuses, connect } = setUp();
  await connect();
  const old = server.socket;
  client.disconnect();
  client.connect();
  await clock.advance(50);
  const notices = [];
  client.on("notification", (frame) => notices.push(frame));
  old.say({ type: "notification" });
  old.say({ type: "disconnect", code: 4510 });
  old.end(4510);
  await clock.advance(50);
  assert.deepEqual(notices, []);
  assert.equal(statuses().at(-1), "online");
  assert.equal(client.connectionId, "connection-2");
});

test("disconnect() while the token is being fetched opens no socket", async () => {
  let give;
  const { client, server, clock } = setUp({ token: () => new Promise((resolve) => (give = resolve)) });
  client.connect();
  await clock.advance(10);
  client.disconnect();
  give("a.b.c");
  await clock.advance(1000);
  assert.equal(server.sockets.length, 0);
});

test("disconnect() stays away, also when the browser comes online", async () => {
  const { client, server, clock, page, statuses, connect } = setUp();
  await connect();
  client.disconnect();
  page.dispatchEvent(new Event("online"));
  await clock.advance(60_000);
  assert.equal(statuses().at(-1), "offline");
  assert.equal(server.sockets.length, 1);
});

test("a hidden tab says away, says so again on the next connection, and takes it back when shown", async () => {
  const { server, clock, page, connect } = setUp();
  await connect();
  page.show("hidden");
  await clock.advance(10);
  server.cut();
  await clock.advance(1000);
  page.show("visible");
  await clock.advance(10);
  assert.deepEqual(server.frames("away").map(({ is_away }) => is_away), [true, true, false]);
});

test("a page that unloads is not away, and one that comes back from the browser's cache may be again", async () => {
  const { server, clock, page, connect } = setUp();
  await connect();
  page.dispatchEvent(new Event("pagehide"));
  page.show("hidden");
  await clock.advance(10);
  assert.deepEqual(server.frames("away"), []);
  page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  page.show("visible");
  page.show("hidden");
  await clock.advance(10);
  assert.equal(server.frames("away").at(-1).is_away, true);
});
