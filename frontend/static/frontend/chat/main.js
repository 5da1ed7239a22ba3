/** The chat page: puts its parts together, and opens the conversation that the address names. */
import { OvaraClient } from "../ovara/ovara.js";
import { Api } from "./api.js";
import { Composer } from "./composer.js";
import { ConversationList } from "./conversation_list.js";
import { Conversations } from "./conversations.js";
import { Details } from "./details.js";
import { FormDialog } from "./dialogs.js";
import { byId, dressAvatar, setNotice } from "./dom.js";
import { Drafts } from "./drafts.js";
import { OpenThread } from "./open_thread.js";
import { Status } from "./status.js";
import { errorWords } from "./words.js";

const { userId = "", username = "", loginUrl = "/" } = document.body.dataset;
const me = { id: userId, username };

const api = new Api();
const client = new OvaraClient({ account: me.id, token: () => api.token() });
const conversations = new Conversations(api, client, me, () => renderConversations());
const conversationList = new ConversationList();
const drafts = new Drafts(client);
const details = new Details(client, { onOpen: () => void open.loadPeople(), onRemove: removePerson });
const open = new OpenThread({
  client,
  api,
  conversations,
  me,
  onPeople: (thread) => details.renderPeople(thread),
  onEdit: (content) => composer.edit(content),
});
const composer = new Composer({
  onSend: (content) => open.send(content),
  onTyping: (isTyping) => open.thread && client.typing(open.thread.id, isTyping),
  onDraft: (draft) => open.thread && drafts.set(open.thread.id, draft),
});
const inviteDialog = new FormDialog("invite-dialog", invite);
const newDialog = new FormDialog("new-dialog", startConversation);

const retry = { words: "Try now", act: () => client.connect() };
const connect = { words: "Connect again", act: () => client.connect() };
const signIn = { words: "Sign in", act: () => location.assign(loginUrl) };
const reload = { words: "Reload the page", act: () => location.reload() };
const asNewClient = () => {
  client.forgetIdentity();
  client.connect();
};
new Status(client, { retry, connect, sign_in: signIn, reload, new_client: { words: "Go on as a new client", act: asNewClient } });

/** The conversation that the person is leaving in this tab. @type {string | null} */
let leaving = null;
const isNarrow = matchMedia("(max-width: 720px)");

function renderConversations() {
  conversationList.render(conversations, open.thread?.id ?? null);
  if (open.thread) byId("thread-title").textContent = conversations.title(open.thread.id);
}

/** Opens what the address names; where it names nothing and there is room for both, what was open last. */
function route() {
  if (!conversations.loaded) return;
  const named = location.hash.slice(1);
  const left = open.thread?.id;
  const others = isNarrow.matches ? [] : [drafts.lastConversation, conversations.items[0]?.id];
  const id = [named, ...others].find((candidate) => candidate && conversations.get(candidate)) ?? null;
  if (named !== (id ?? "")) history.replaceState(null, "", id ? `#${id}` : location.pathname);
  if (id) show(id);
  else hide();
  document.body.dataset.view = id ? "thread" : "list";
  renderConversations();
  if (left && !id) conversationList.focus(left);
}

/** @param {string} id */
function show(id) {
  const isOther = open.thread?.id !== id;
  if (isOther) composer.stopTyping();
  byId("welcome").hidden = true;
  byId("thread").hidden = false;
  open.open(id);
  if (!isOther) return;
  drafts.opened(id);
  composer.setDraft(drafts.get(id));
  // On a phone the keyboard would cover what there is to read.
  if (isNarrow.matches) byId("thread-title").focus();
  else if (!document.querySelector("dialog[open]")) composer.focus();
}

function hide() {
  open.close();
  details.close();
  byId("welcome").hidden = false;
  byId("thread").hidden = true;
}

/** @param {Record<string, string>} fields */
async function startConversation({ title, participants }) {
  const usernames = participants.split(/[\s,;]+/).filter(Boolean);
  const item = await api.createConversation({ title: title.trim() || undefined, participants: usernames });
  conversations.put(item);
  location.hash = item.id;
}

/** @param {Record<string, string>} fields */
async function invite({ username: name }) {
  if (!open.thread) return;
  await api.invite(open.thread.id, name.trim());
  await open.loadPeople();
}

/** @param {string} name */
async function removePerson(name) {
  if (!open.thread) return;
  leaving = name === me.username ? open.thread.id : null;
  await api.removeParticipant(open.thread.id, name);
  await (leaving ? loadConversations() : open.loadPeople());
}

async function loadConversations() {
  const notice = byId("conversations-error");
  try {
    await conversations.load();
    setNotice(notice);
    route();
  } catch (error) {
    setNotice(notice, errorWords(error));
  }
}

dressAvatar(byId("own-avatar"), me.username);
byId("skip-link").addEventListener("click", (/** @type {Event} */ event) => {
  event.preventDefault(); // The address names the conversation.
  composer.focus();
});
byId("new-conversation").addEventListener("click", () => newDialog.open());
byId("invite").addEventListener("click", () => inviteDialog.open());
byId("sign-out").addEventListener("submit", () => {
  client.disconnect();
  sessionStorage.clear();
});
addEventListener("hashchange", route);
isNarrow.addEventListener("change", route);
// Frames about the list may have been missed while there was no connection.
client.on("welcome", () => void loadConversations());
client.on("resync", ({ conversation_id }) => conversation_id ?? void loadConversations());
client.on("conversation_removed", ({ conversation_id, title }) => {
  if (open.thread?.id !== conversation_id) return;
  route();
  if (leaving !== conversation_id) {
    setNotice(byId("conversations-error"), `You no longer take part in ${title ? `“${title}”` : "the conversation that was open"}.`);
  }
});
client.on("state", () => {
  if (open.thread && !composer.busy) composer.setDraft(drafts.get(open.thread.id));
});
client.connect();
