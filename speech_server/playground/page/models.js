/** The tab for models: what is installed, what is in memory and how much it takes; install, load, unload, remove. */

import { $, element, languageName } from "./elements.js";
import { HEARS, SPEAKS, all, onModels, refresh } from "./installed.js";
import { installing, showRequest } from "./requests.js";
import { ask, events, path } from "./server.js";
import { onSubmit, showError } from "./work.js";

const TASKS = {
  [HEARS]: "speech to text", [SPEAKS]: "text to speech", "voice-activity-detection": "voice activity",
  "speaker-embedding": "speakers",
};
const SHOWN = 3; // languages of a model; the rest is a number

export function start(tab, about) {
  const form = $("form", tab);
  const page = { tab, about, error: $(".changed.error", tab), status: $(".memory", tab), loaded: new Map() };
  $(".off", tab).hidden = about.manages_models;
  showRequest($(".request", tab), form, () => installing(form.model.value.trim() || "Systran/faster-whisper-small"));
  onSubmit(form, async (signal, say) => {
    const said = await install(form, signal, say);
    await reload(page);
    return said;
  });
  onModels(() => draw(page));
  tab.addEventListener("shown", () => reload(page));
  tab.addEventListener("key", () => offer(form));
  if (about.admitted()) offer(form);
}

/** What the server knows how to install. */
async function offer(form) {
  try {
    const { data } = await (await ask("v1/registry")).json();
    $("datalist", form).replaceChildren(...data.map(({ id, task }) => element("option", { value: id, label: TASKS[task] ?? task })));
  } catch {
    // Only a convenience: an id can be typed all the same.
  }
}

async function reload(page) {
  if (!page.about.admitted()) return;
  try {
    const { details } = await (await ask("api/ps")).json();
    page.loaded = new Map(details.map((model) => [model.id, model]));
    await refresh();
  } catch (error) {
    showError(page.error, error);
  }
}

function draw(page) {
  const rows = all().map((model) => row(page, model, page.loaded.get(model.id)));
  $("tbody", page.tab).replaceChildren(...rows);
  $("table", page.tab).hidden = !rows.length;
  const bytes = [...page.loaded.values()].reduce((sum, model) => sum + model.memory_bytes, 0);
  page.status.textContent = rows.length
    ? `${rows.length} installed, ${page.loaded.size} in memory with ${megabytes(bytes)}`
    : "No model is installed.";
}

function row(page, model, loaded) {
  const state = loaded
    ? `in memory, ${megabytes(loaded.memory_bytes)}${loaded.references ? `, ${loaded.references} at work` : ""}`
    : "on disk";
  const change = (label, method, url) =>
    element("button", {
      type: "button", className: "quiet", textContent: label, disabled: !page.about.manages_models, "aria-label": `${label} ${model.id}`,
      onclick: ({ currentTarget }) => apply(page, currentTarget, method, url),
    });
  const id = path(model.id);
  const memory = loaded ? change("Unload", "DELETE", `api/ps/${id}`) : change("Load", "POST", `api/ps/${id}`);
  return element("tr", {},
    element("th", { scope: "row", textContent: model.id }),
    cell("Task", TASKS[model.task] ?? model.task),
    cell("Languages", languages(model)),
    cell("State", state),
    element("td", { className: "row" }, memory, change("Remove", "DELETE", `v1/models/${id}`)),
  );
}

const cell = (name, text) => {
  const made = element("td", { textContent: text });
  made.dataset.name = name; // where there is no room for a head of the table
  return made;
};

const megabytes = (bytes) => `${Math.round(bytes / 1e6)} MB`;

function languages({ language = [] }) {
  const names = language.slice(0, SHOWN).map(languageName);
  return language.length > SHOWN ? `${language.length} languages` : names.join(", ");
}

async function apply(page, button, method, url) {
  if (button.textContent === "Remove" && !confirm(`${button.getAttribute("aria-label")}? Its files are deleted.`)) return;
  const label = button.getAttribute("aria-label");
  showError(page.error, null);
  button.setAttribute("aria-disabled", "true");
  button.textContent = "…";
  try {
    await ask(url, { method });
  } catch (error) {
    showError(page.error, error);
  }
  await reload(page);
  const again = label.replace(/^(Load|Unload) /, label.startsWith("Load") ? "Unload " : "Load ");
  const next = page.tab.querySelector(`[aria-label="${CSS.escape(again)}"]`) ?? page.tab.querySelector(`[aria-label="${CSS.escape(label)}"]`);
  next?.focus(); // the row was drawn anew
}

async function install(form, signal, say) {
  const bar = $("progress", form);
  const id = form.model.value.trim();
  try {
    const reply = await ask(`v1/models/${path(id)}`, { method: "POST", headers: { Accept: "text/event-stream" }, signal });
    if (reply.status === 201) return `${id} is installed already`;
    for await (const { type, status, completed, total } of events(reply)) {
      if (type !== "progress") continue;
      bar.hidden = false;
      if (total) bar.value = completed / total;
      else bar.removeAttribute("value");
      say(total ? `${status}: ${megabytes(completed)} of ${megabytes(total)}` : status);
    }
    return `${id} is installed`;
  } finally {
    bar.hidden = true;
  }
}
