/** The tab for captions: words on the page while they are spoken, and beneath them, if asked, in English. */

import { $, clock, element, save } from "./elements.js";
import { asFile } from "./exports.js";
import { HEARS, fillLanguages, fillModels, onModels } from "./installed.js";
import { showLevel } from "./microphone.js";
import { RealtimeSession } from "./realtime.js";
import { conversing, showRequest } from "./requests.js";
import { ask } from "./server.js";
import { wav } from "./sound.js";
import { showError } from "./work.js";

const MOST_BLOCKS = 300 * 25; // of 40 ms, kept for translation: the longest turn the server takes by default

export function start(tab) {
  const form = $("form", tab);
  const refreshRequest = showRequest($(".request", tab), form, () => conversing(queryOf(form), { type: "transcription" }));
  onModels(() => {
    fillModels(form.model, HEARS);
    fillLanguages(form.language, form.model.value);
    refreshRequest();
  });
  form.model.addEventListener("change", () => fillLanguages(form.language, form.model.value));
  form.onsubmit = (event) => event.preventDefault();
  let live = null;
  let last = null;
  const stop = async () => {
    const ending = live;
    live = null;
    await ending?.end();
  };
  $(".begin", form).onclick = async () => {
    if (live) return stop();
    live = last = new Captions(tab, form, () => (live = null));
    await live.begin();
  };
  for (const button of tab.querySelectorAll("[data-format]")) {
    const { format } = button.dataset;
    button.onclick = () => last && save(asFile(last.lines, format), `captions.${format}`);
  }
  tab.addEventListener("left", stop);
}

const queryOf = (form) => ({ model: form.model.value, intent: "transcription", language: form.language.value });

class Captions {
  constructor(tab, form, onEnd) {
    this.log = $(".log", tab);
    this.state = $(".state", tab);
    this.level = $(".level", tab);
    this.exports = $(".exports", tab);
    this.error = $(".error", form);
    this.button = $(".begin", form);
    this.translates = () => form.translate.checked;
    this.model = form.model.value;
    this.onEnd = onEnd;
    this.turns = new Map(); // by item: its times, texts and place on the page
    this.sound = new Sound();
    this.session = new RealtimeSession(queryOf(form), { type: "transcription" }, this.reactions());
  }

  get lines() {
    return [...this.turns.values()]
      .filter(({ text, end }) => text && end)
      .map(({ start, end, text, english }) => ({ start, end, text: english && english !== text ? `${text}\n${english}` : text }));
  }

  async begin() {
    this.log.replaceChildren();
    showError(this.error, null);
    this.exports.hidden = true;
    this.say("Connecting …");
    this.button.textContent = "Stop";
    try {
      await this.session.open();
      this.say("Listening");
    } catch (error) {
      if (!this.session.left) this.finish(error);
    }
  }

  reactions() {
    const named = "conversation.item.input_audio_transcription";
    return {
      block: ({ samples, level }) => {
        this.sound.add(samples);
        showLevel(this.level, level);
      },
      "input_audio_buffer.speech_started": ({ item_id, audio_start_ms }) => this.turn(item_id, audio_start_ms / 1000),
      "input_audio_buffer.speech_stopped": ({ item_id, audio_end_ms }) => this.stopped(item_id, audio_end_ms / 1000),
      [`${named}.delta`]: ({ item_id, delta }) => $(".said", this.turn(item_id).line).append(delta),
      [`${named}.completed`]: ({ item_id, transcript }) => this.completed(item_id, transcript.trim()),
      [`${named}.failed`]: ({ error }) => showError(this.error, error),
      error: ({ error }) => showError(this.error, error),
      ended: (reason) => this.finish(reason ? { message: reason } : null),
    };
  }

  turn(id, start = 0) {
    if (!this.turns.has(id)) {
      const line = element("li", {}, element("small", { textContent: clock(start) }), element("p", { className: "said" }));
      this.turns.set(id, { start, line, text: "" });
      this.log.append(line);
      line.scrollIntoView({ block: "nearest" });
    }
    return this.turns.get(id);
  }

  stopped(id, end) {
    const turn = this.turn(id);
    turn.end = end;
    if (this.translates()) this.translate(turn, this.sound.cut(turn.start, end, this.session.rate));
  }

  completed(id, text) {
    const turn = this.turn(id);
    turn.text = text;
    $(".said", turn.line).textContent = text;
    hideSame(turn);
    turn.line.hidden = !text; // a noise that was no words
    if (text) this.exports.hidden = false;
  }

  /** The turn's own sound, sent again to be put into English; its line waits for nobody else's. */
  async translate(turn, sound) {
    const body = new FormData();
    body.append("model", this.model);
    body.append("file", sound, "turn.wav");
    const line = element("p", { className: "english", lang: "en", textContent: "…" });
    turn.line.append(line);
    try {
      const reply = await ask("v1/audio/translations", { method: "POST", body });
      turn.english = line.textContent = (await reply.json()).text.trim();
      hideSame(turn);
    } catch (error) {
      line.remove();
      showError(this.error, error);
    }
  }

  say(text) {
    this.state.textContent = text;
  }

  async end() {
    await this.session.close();
    this.finish(null);
  }

  finish(error) {
    this.button.textContent = "Start captions";
    if (error && this.error.hidden) showError(this.error, error); // the first one says most
    this.say(error ? "" : "Stopped");
    showLevel(this.level, 0);
    this.onEnd();
  }
}

/** What was said in English need not stand there twice. */
function hideSame({ line, text, english }) {
  const beneath = $(".english", line);
  if (beneath) beneath.hidden = english === text;
}

/** The latest sound of a session, as far back as a turn may reach. Places are samples since its beginning. */
class Sound {
  constructor() {
    this.blocks = [];
    this.first = 0; // the place of the first sample kept
  }

  add(samples) {
    this.blocks.push(samples);
    if (this.blocks.length > MOST_BLOCKS) this.first += this.blocks.shift().length;
  }

  cut(start, end, rate) {
    let at = this.first;
    const pieces = [];
    for (const block of this.blocks) {
      const [from, to] = [Math.max(0, start * rate - at), Math.min(block.length, end * rate - at)];
      if (to > from) pieces.push(block.slice(from, to));
      at += block.length;
    }
    return wav(pieces, rate);
  }
}
