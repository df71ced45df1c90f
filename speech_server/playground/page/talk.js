/** The tab for a conversation: what you say goes to a language model, its answer is spoken; speaking over it stops it. */

import { $, element } from "./elements.js";
import { HEARS, SPEAKS, fillModels, fillVoices, onModels } from "./installed.js";
import { showLevel } from "./microphone.js";
import { Player } from "./player.js";
import { RealtimeSession } from "./realtime.js";
import { conversing, showRequest } from "./requests.js";
import { fromBase64 } from "./sound.js";
import { showError } from "./work.js";

const RATE = 24_000; // of what the server speaks

export function start(tab, about) {
  const form = $("form", tab);
  const begin = $(".begin", form);
  $(".unset", tab).hidden = about.language_model;
  begin.disabled = !about.language_model;
  const refreshRequest = showRequest($(".request", tab), form, () => conversing(wanted(form)));
  onModels(() => {
    fillModels(form.hears, HEARS);
    fillModels(form.speaks, SPEAKS);
    fillVoices(form.voice, form.speaks.value);
    refreshRequest();
  });
  form.speaks.addEventListener("change", () => fillVoices(form.voice, form.speaks.value));
  form.onsubmit = (event) => event.preventDefault();
  let talk = null;
  const stop = async () => {
    const ending = talk;
    talk = null;
    await ending?.end();
  };
  begin.onclick = async () => {
    if (talk) return stop();
    talk = new Conversation(tab, form, () => (talk = null));
    await talk.begin();
  };
  $(".interrupt", form).onclick = () => talk?.interrupt();
  tab.addEventListener("left", stop);
}

/** What the form asks for: an address, its query, and what the session is set to. */
const wanted = (form) => ({
  path: "v1/realtime",
  query: {
    model: form.llm.value.trim(), intent: "conversation", transcription_model: form.hears.value, speech_model: form.speaks.value,
  },
  session: {
    type: "realtime",
    instructions: form.instructions.value,
    audio: { input: { turn_detection: { type: "server_vad" } }, output: { voice: form.voice.value || "alloy" } },
  },
});

class Conversation {
  constructor(tab, form, onEnd) {
    this.log = $(".log", tab);
    this.state = $(".state", tab);
    this.error = $(".error", form);
    this.levels = { you: $(".you .level", tab), it: $(".it .level", tab) };
    this.button = $(".begin", form);
    this.stopButton = $(".interrupt", form);
    this.onEnd = onEnd;
    this.speaking = null; // the item that sounds: its id, and how long what came of it is
    this.session = new RealtimeSession(wanted(form), this.reactions());
  }

  async begin() {
    this.log.replaceChildren();
    showError(this.error, null);
    this.say("Connecting …");
    this.button.textContent = "End";
    this.player = new Player(RATE, {
      onLevel: (level) => showLevel(this.levels.it, level),
      onQuiet: () => {
        this.stopButton.hidden = true;
        this.say("Listening");
      },
    });
    try {
      await this.session.open();
      this.say("Listening: say something");
    } catch (error) {
      if (!this.session.left) this.finish(error);
    }
  }

  reactions() {
    return {
      block: ({ level }) => showLevel(this.levels.you, level),
      "input_audio_buffer.speech_started": () => {
        this.interrupt();
        this.say("Hearing you");
      },
      "input_audio_buffer.speech_stopped": () => this.say("Thinking"),
      "conversation.item.added": ({ item }) => item.type === "message" && this.bubble(item.id, item.role),
      "conversation.item.input_audio_transcription.delta": ({ item_id, delta }) => this.write(item_id, "user", delta),
      "conversation.item.input_audio_transcription.completed": ({ item_id, transcript }) => this.rewrite(item_id, transcript),
      "conversation.item.input_audio_transcription.failed": ({ error }) => showError(this.error, error),
      "response.output_audio_transcript.delta": ({ item_id, delta }) => this.write(item_id, "assistant", delta),
      "response.output_audio.delta": ({ item_id, delta }) => this.sound(item_id, fromBase64(delta)),
      "response.done": ({ response }) => this.answered(response),
      error: ({ error }) => showError(this.error, error),
      ended: (reason) => this.finish(reason ? { message: reason } : null),
    };
  }

  sound(id, samples) {
    if (this.speaking?.id !== id) {
      this.player.reset();
      this.speaking = { id, seconds: 0 };
    }
    this.speaking.seconds += samples.length / RATE;
    this.player.add(samples);
    this.say("Speaking");
    this.stopButton.hidden = false;
  }

  /** Silence, and the language model is told only what was heard of its answer. */
  interrupt() {
    this.stopButton.hidden = true;
    if (!this.player?.playing) return;
    const { id, seconds } = this.speaking;
    const heard = Math.floor(1000 * Math.min(this.player.heard, seconds));
    this.player.stop();
    this.session.send("conversation.item.truncate", { item_id: id, content_index: 0, audio_end_ms: heard });
    this.bubble(id, "assistant").classList.add("cut");
    this.say("Listening");
  }

  answered({ status, status_details: details }) {
    if (status === "failed") this.say("No answer came");
    if (status === "incomplete") this.say(`The answer is not whole: ${details?.reason ?? "it was cut"}`);
  }

  bubble(id, role) {
    const found = this.log.querySelector(`[data-item="${CSS.escape(id)}"]`);
    if (found) return found;
    const who = element("b", { textContent: role === "user" ? "You" : "Model" });
    const made = element("li", { className: role }, who, element("p"));
    made.dataset.item = id;
    this.log.append(made);
    made.scrollIntoView({ block: "nearest" });
    return made;
  }

  write(id, role, delta) {
    $("p", this.bubble(id, role)).append(delta);
  }

  rewrite(id, text) {
    const bubble = this.bubble(id, "user");
    $("p", bubble).textContent = text.trim();
    bubble.hidden = !text.trim(); // a noise that was no words
  }

  say(text) {
    this.state.textContent = text;
  }

  async end() {
    await this.session.close();
    this.finish(null);
  }

  async finish(error) {
    this.button.textContent = "Start talking";
    this.stopButton.hidden = true;
    if (error && this.error.hidden) showError(this.error, error); // the first one says most
    this.say(error ? "" : "Ended");
    for (const level of Object.values(this.levels)) showLevel(level, 0);
    this.onEnd();
    await this.player.close();
  }
}
