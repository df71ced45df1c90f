/** Asks the server: requests with the key, server-sent events, WebSockets; every failure says what happened. */

const KEY = "api-key"; // in sessionStorage: gone with the tab

export class Refused extends Error {
  constructor(message, code = null, status = 0) {
    super(message);
    Object.assign(this, { code, status });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** An id of a model as a path: its slashes stay. */
export const path = (id) => id.split("/").map(encodeURIComponent).join("/");

/** The reply, where it is a success; `json` is sent as such. Throws Refused, or AbortError when it was cancelled. */
export async function ask(url, { json, headers = {}, ...options } = {}) {
  const sent = { ...headers };
  if (key.get()) sent.Authorization = `Bearer ${asHeader(key.get())}`;
  if (json !== undefined) {
    sent["Content-Type"] = "application/json";
    options = { method: "POST", ...options, body: JSON.stringify(json) };
  }
  let reply;
  try {
    reply = await fetch(url, { ...options, headers: sent });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Is it running, and are you online?");
  }
  if (reply.ok) return reply;
  const { error = {} } = await reply.json().catch(() => ({}));
  if (error.code === "invalid_api_key") dispatchEvent(new Event("key-refused"));
  throw new Refused(error.message ?? `The server answered ${reply.status} ${reply.statusText}`, error.code, reply.status);
}

// A header carries bytes, and the server reads them as UTF-8.
const asHeader = (text) => String.fromCharCode(...new TextEncoder().encode(text));

/** The server-sent events of a reply. Throws Refused for an error in their midst, and where they break off. */
export async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) if (block.startsWith("data: {")) yield checked(JSON.parse(block.slice(6)));
    }
  } catch (error) {
    if (error instanceof Refused || error.name === "AbortError") throw error;
    throw new Refused("The connection to the server broke off: what is here is not all of it.");
  } finally {
    reader.cancel().catch(() => {}); // who stops listening stops the work
  }
}

function checked(event) {
  if (event.type === "error") throw new Refused(event.error.message, event.error.code);
  return event;
}

/** A WebSocket; the key goes along as a subprotocol, since a browser can set no header on it. */
export function socket(url, query) {
  const address = new URL(url, document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  for (const [name, value] of Object.entries(query)) if (value) address.searchParams.set(name, value);
  const secret = key.get();
  if (!secret) return new WebSocket(address, ["realtime"]);
  if (!/^[\w!#$%&'*+.^`|~-]+$/.test(secret))
    throw new Refused("This key has characters that a browser cannot send with a WebSocket: letters, digits and -._~ can.");
  return new WebSocket(address, ["realtime", `openai-insecure-api-key.${secret}`]);
}
