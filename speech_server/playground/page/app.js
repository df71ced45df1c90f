/** Starts the page: its tabs, the key, the models; one tab is shown at a time, and the address says which. */

import { $ } from "./elements.js";
import * as captions from "./captions.js";
import { refresh } from "./installed.js";
import * as models from "./models.js";
import { ask, key } from "./server.js";
import * as speak from "./speak.js";
import * as talk from "./talk.js";
import * as transcribe from "./transcribe.js";
import { showError } from "./work.js";

const STARTS = { transcribe, speak, talk, captions, models };
const tabs = [...document.querySelectorAll("[role=tab]")];
const panel = (tab) => document.getElementById(tab.getAttribute("aria-controls"));

function choose(tab, { focus = false } = {}) {
  for (const other of tabs) {
    const chosen = other === tab;
    if (!chosen && !panel(other).hidden) panel(other).dispatchEvent(new Event("left"));
    other.setAttribute("aria-selected", chosen);
    other.tabIndex = chosen ? 0 : -1;
    panel(other).hidden = !chosen;
  }
  if (focus) tab.focus();
  history.replaceState(null, "", `#${panel(tab).id}`);
  document.title = `${tab.textContent} · runpod-speech`;
  panel(tab).dispatchEvent(new Event("shown"));
}

const fromAddress = () => tabs.find((tab) => `#${panel(tab).id}` === location.hash) ?? tabs[0];

function startTabs() {
  for (const tab of tabs) tab.onclick = () => choose(tab);
  $("[role=tablist]").onkeydown = (event) => {
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(tabs.at(to % tabs.length), { focus: true });
  };
  addEventListener("hashchange", () => choose(fromAddress()));
  choose(fromAddress());
}

function startKey(needed) {
  const form = $("#key");
  const line = $(".error", form);
  form.hidden = !needed;
  form.secret.value = key.get();
  const tell = (message) => showError(line, { message });
  if (needed && !key.get()) tell("This server wants an API key.");
  addEventListener("key-refused", () => {
    form.hidden = false;
    tell(key.get() ? "The server does not take this key." : "This server wants an API key.");
  });
  form.onsubmit = async (event) => {
    event.preventDefault();
    key.set(form.secret.value.trim());
    dispatchEvent(new Event("key-changed"));
    for (const error of document.querySelectorAll(".error")) showError(error, null);
    await greet();
    for (const tab of tabs) panel(tab).dispatchEvent(new Event("key"));
    panel(tabs.find((tab) => tab.tabIndex === 0)).dispatchEvent(new Event("shown"));
  };
}

/** The list of models is what shows that the server is there and takes the key. */
async function greet() {
  try {
    await refresh();
    showError($("#offline"), null);
  } catch (error) {
    if (error.code !== "invalid_api_key") showError($("#offline"), error);
  }
}

const about = await ask("page/server.json").then((reply) => reply.json(), (error) => {
  showError($("#offline"), error);
  throw error;
});
about.admitted = () => !about.key_needed || key.get() !== "";
for (const [name, { start }] of Object.entries(STARTS)) start(document.getElementById(name), about);
startKey(about.key_needed);
startTabs();
if (about.admitted()) await greet();
