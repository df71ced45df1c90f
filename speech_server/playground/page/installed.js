/** The models the server has: asked for once, shared by all tabs, asked for again when something changed. */

import { fill, languageName } from "./elements.js";
import { ask } from "./server.js";

export const HEARS = "automatic-speech-recognition";
export const SPEAKS = "text-to-speech";
const DEFAULTS = { [HEARS]: "whisper-1", [SPEAKS]: "tts-1" };

const listeners = [];
let models = [];

export const all = () => models.filter((model) => !model.root);
export const find = (id) => models.find((model) => model.id === id);

/** `listener` is called now and whenever the list is new. */
export function onModels(listener) {
  listeners.push(listener);
  listener();
}

export async function refresh() {
  models = (await (await ask("v1/models")).json()).data;
  for (const listener of listeners) listener();
}

/** Fills a select with the models of a task; where there are none, with the name the server downloads one for. */
export function fillModels(select, task) {
  const own = all().filter((model) => model.task === task);
  const first = find(DEFAULTS[task])?.root;
  own.sort((one, other) => (other.id === first) - (one.id === first));
  fill(select, own.length ? own.map(({ id }) => [id, id]) : [[DEFAULTS[task], `${DEFAULTS[task]} (downloaded at first use)`]]);
}

/** The languages of a model, by name; "" stands for finding out. */
export function fillLanguages(select, model) {
  const codes = find(model)?.language ?? [];
  const named = codes.map((code) => [code, languageName(code)]).sort((one, other) => one[1].localeCompare(other[1]));
  fill(select, [["", "Find out"], ...named]);
}

const FAVOURITES = ["af_heart"]; // Kokoro's best

/** The voices of a model, grouped by language, English first. */
export function fillVoices(select, model) {
  const groups = new Map();
  for (const voice of find(model)?.voices ?? [])
    groups.set(voice.language, [...(groups.get(voice.language) ?? []), voice]);
  const entries = [...groups].map(([language, voices]) => ({
    label: languageName(language),
    options: voices.map(({ id, gender }) => [id, gender ? `${id} (${gender})` : id]),
  }));
  const american = (entry) => entry.label === languageName("en-us");
  entries.sort((one, other) => american(other) - american(one) || one.label.localeCompare(other.label));
  const isNew = ![...select.options].length;
  fill(select, entries.length ? entries : [["", "The model's own"]]);
  if (isNew) select.value = FAVOURITES.find((id) => find(model)?.voices?.some((voice) => voice.id === id)) ?? select.value;
}
