/** The tab for captions: words on the page while they are spoken, and beneath them, if asked, their English. */

import { $, clock, element, save } from "./elements.js";
import { asFile } from "./exports.js";
import { HEARS, fillLanguages, fillModels, onModels } from "./installed.js";
import { showLevel } from "./microphone.js";
import { RealtimeSession } from "./realtime.js";
import { conversing, showRequest } from "./requests.js";
import { showError } from "./work.js";

const SLOWEST = 10; // letters a second: a line was begun no longer ago than it takes to say it
const LONGEST = 160; // letters of a line that ends in the midst of a sentence

/** What the form asks for: an address, its query, and what the session is set to. */
const wanted = (form) => {
  const [model, language] = [form.model.value, form.language.value];
  return form.translate.checked
    ? { path: "v1/realtime/translations", query: { model, transcription_model: model, language }, session: { output_modalities: ["text"] } }
    : { path: "v1/realtime", query: { model, intent: "transcription", language }, session: { type: "transcription" } };
};

export function start(tab) {
  const form = $("form", tab);
  const refreshRequest = showRequest($(".request", tab), form, () => conversing(wanted(form)));
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

class Captions {
  constructor(tab, form, onEnd) {
    this.log = $(".log", tab);
    this.state = $(".state", tab);
    this.level = $(".level", tab);
    this.exports = $(".exports", tab);
    this.error = $(".error", form);
    this.button = $(".begin", form);
    this.choice = form.translate;
    this.onEnd = onEnd;
    this.texts = form.translate.checked ? new Interpreted(this) : new Turns(this);
    this.session = new RealtimeSession(wanted(form), this.reactions());
  }

  get lines() {
    return this.texts.lines;
  }

  async begin() {
    this.log.replaceChildren();
    showError(this.error, null);
    this.exports.hidden = true;
    this.say("Connecting …");
    this.button.textContent = "Stop";
    this.choice.disabled = true; // one session cannot become the other
    try {
      await this.session.open();
      this.say("Listening");
    } catch (error) {
      if (!this.session.left) this.finish(error);
    }
  }

  reactions() {
    return {
      block: ({ level }) => showLevel(this.level, level),
      error: ({ error }) => showError(this.error, error),
      ended: (reason) => this.finish(reason ? { message: reason } : null),
      ...this.texts.reactions(),
    };
  }

  /** A line of the log, with a place for each text. */
  line(start, ...texts) {
    const line = element("li", {}, element("small", { textContent: clock(start) }), ...texts);
    this.log.append(line);
    line.scrollIntoView({ block: "nearest" });
    return line;
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
    this.choice.disabled = false;
    if (error && this.error.hidden) showError(this.error, error); // the first one says most
    this.say(error ? "" : "Stopped");
    showLevel(this.level, 0);
    this.onEnd();
  }
}

const said = () => element("p", { className: "said" });

/** A transcription comes turn by turn: a line for each. */
class Turns {
  constructor(captions) {
    this.captions = captions;
    this.turns = new Map(); // by item: its times, text and place on the page
  }

  get lines() {
    return [...this.turns.values()].filter(({ text, end }) => text && end);
  }

  reactions() {
    const named = "conversation.item.input_audio_transcription";
    return {
      "input_audio_buffer.speech_started": ({ item_id, audio_start_ms }) => this.turn(item_id, audio_start_ms / 1000),
      "input_audio_buffer.speech_stopped": ({ item_id, audio_end_ms }) => (this.turn(item_id).end = audio_end_ms / 1000),
      [`${named}.delta`]: ({ item_id, delta }) => $(".said", this.turn(item_id).line).append(delta),
      [`${named}.completed`]: ({ item_id, transcript }) => this.completed(this.turn(item_id), transcript.trim()),
      [`${named}.failed`]: ({ error }) => showError(this.captions.error, error),
    };
  }

  turn(id, start = 0) {
    if (!this.turns.has(id)) this.turns.set(id, { start, line: this.captions.line(start, said()), text: "" });
    return this.turns.get(id);
  }

  completed(turn, text) {
    turn.text = text;
    $(".said", turn.line).textContent = text;
    turn.line.hidden = !text; // a noise that was no words
    if (text) this.captions.exports.hidden = false;
  }
}

/** A translation comes as two texts that grow: a line for each sentence that both have. */
class Interpreted {
  constructor(captions) {
    this.captions = captions;
    this.spoken = []; // lines: their times, and both texts
  }

  get lines() {
    return this.spoken.map(({ start, end, own, english }) => {
      const texts = own === english ? [own] : [own, english];
      return { start, end, text: texts.filter(Boolean).join("\n") };
    });
  }

  reactions() {
    return {
      "session.input_transcript.delta": ({ delta, elapsed_ms }) => this.grow("own", delta, elapsed_ms / 1000),
      "session.output_transcript.delta": ({ delta, elapsed_ms }) => this.grow("english", delta, elapsed_ms / 1000),
    };
  }

  grow(side, delta, until) {
    let now = this.spoken.at(-1);
    if (!now || (until > now.end && isWhole(now))) this.spoken.push((now = { own: "", english: "", begun: now?.end ?? 0 }));
    now[side] = (now[side] + delta).trimStart();
    now.end = until;
    now.start = Math.max(now.begun, until - Math.max(now.own.length, now.english.length) / SLOWEST);
    this.show(now);
  }

  show(now) {
    now.line ??= this.captions.line(now.start, said(), element("p", { className: "english", lang: "en" }));
    $("small", now.line).textContent = clock(now.start);
    $(".said", now.line).textContent = now.own;
    const beneath = $(".english", now.line);
    beneath.textContent = now.english;
    beneath.hidden = now.own === now.english; // what was said in English need not stand there twice
    this.captions.exports.hidden = false;
  }
}

const isWhole = ({ own, english }) =>
  [own, english].every((text) => /[.!?…。！？؟।]["'”’»)]*\s*$/u.test(text) || text.length > LONGEST);
