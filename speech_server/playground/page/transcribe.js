/** The tab that turns a recording into text: dropped, chosen, recorded or made up. */

import { $, clock, languageName, save } from "./elements.js";
import { asFile, written } from "./exports.js";
import { HEARS, fillLanguages, fillModels, onModels } from "./installed.js";
import { openMicrophone, showLevel } from "./microphone.js";
import { copyText, hearing, showRequest } from "./requests.js";
import { Refused, ask, events } from "./server.js";
import { wav } from "./sound.js";
import { Transcript } from "./transcript.js";
import { onSubmit, showError } from "./work.js";

const SAMPLE = "Hello! This sentence was spoken by the server itself. It can be written down again, word by word.";

export function start(tab) {
  const form = $("form", tab);
  const audio = $(".heard", tab);
  const transcript = new Transcript($(".result", tab), audio);
  const recording = new Recording(form, audio);
  const refreshRequest = showRequest($(".request", tab), form, () => hearing(form.task.value, fieldsOf(form)));
  onModels(() => {
    fillModels(form.model, HEARS);
    fillLanguages(form.language, form.model.value);
    refreshRequest();
  });
  form.model.addEventListener("change", () => fillLanguages(form.language, form.model.value));
  form.diarize.addEventListener("change", () => (form.num_speakers.disabled = !form.diarize.checked));
  onSubmit(form, (signal) => transcribe(form, recording, transcript, $(".result", tab), signal));
  offerFiles($(".exports", tab), transcript, recording);
}

/** The fields of the request, as its form has them. */
function fieldsOf(form) {
  const fields = { model: form.model.value, response_format: "verbose_json", timestamp_granularities: ["word"] };
  if (form.language.value) fields.language = form.language.value;
  if (form.hotwords.value.trim()) fields.hotwords = form.hotwords.value.trim();
  if (form.diarize.checked) fields.diarize = true;
  if (form.diarize.checked && form.num_speakers.value) fields.num_speakers = Number(form.num_speakers.value);
  return fields;
}

async function transcribe(form, recording, transcript, result, signal) {
  if (!recording.blob) throw new Refused("Choose a file, record something, or take the sample first.");
  const body = new FormData();
  for (const [name, value] of Object.entries(fieldsOf(form)))
    Array.isArray(value) ? body.append(`${name}[]`, value[0]) : body.append(name, value);
  body.append("stream", "true");
  body.append("file", recording.blob, recording.name); // last: what is wrong above is known before it is sent
  transcript.clear();
  result.hidden = true;
  const reply = await ask(`v1/audio/${form.task.value}`, { method: "POST", body, signal });
  for await (const event of events(reply)) {
    if (event.type === "transcript.text.segment") {
      result.hidden = false;
      transcript.add(event);
      recording.showProgress(event.end);
    }
  }
  recording.showProgress(0);
  return summary(transcript, form.language.value);
}

function summary({ segments }, language) {
  if (!segments.length) return "No speech was found in it.";
  const count = segments.reduce((sum, { text }) => sum + text.split(/\s+/).filter(Boolean).length, 0);
  return `${count} words${language ? ` of ${languageName(language)}` : ""}`;
}

/** What is to be transcribed, and how it is got hold of. */
class Recording {
  constructor(form, audio) {
    Object.assign(this, { form, audio, blob: null, name: "", microphone: null });
    this.drop = $(".drop", form);
    this.record = $(".record", form);
    this.bar = $("progress", form);
    this.error = $(".error", form);
    audio.onerror = () => ($(".name", this.drop).textContent += " (this browser does not play it)");
    form.file.onchange = () => form.file.files[0] && this.take(form.file.files[0], form.file.files[0].name);
    this.record.onclick = () => (this.microphone ? this.stop() : this.listen());
    $(".sample", form).onclick = () => this.makeSample();
    this.takeDrops(this.drop);
  }

  takeDrops(place) {
    const mark = (over) => (event) => {
      event.preventDefault();
      place.classList.toggle("over", over);
    };
    place.ondragenter = place.ondragover = mark(true);
    place.ondragleave = mark(false);
    place.ondrop = (event) => {
      mark(false)(event);
      const [file] = event.dataTransfer.files;
      if (file) this.take(file, file.name);
    };
  }

  take(blob, name) {
    URL.revokeObjectURL(this.audio.src);
    Object.assign(this, { blob, name });
    this.audio.src = URL.createObjectURL(blob);
    this.audio.hidden = false;
    $(".name", this.drop).textContent = `${name}, ${(blob.size / 1e6).toFixed(1)} MB`;
    showError(this.error, null);
  }

  /** How far into the recording the text is. */
  showProgress(second) {
    const { duration } = this.audio;
    this.bar.hidden = !second || !Number.isFinite(duration);
    if (!this.bar.hidden) this.bar.value = second / duration;
  }

  async listen() {
    const blocks = [];
    const level = $(".level", this.form);
    showError(this.error, null);
    try {
      this.microphone = await openMicrophone(({ samples, level: loud }) => {
        blocks.push(samples);
        showLevel(level, loud);
        this.record.textContent = `Stop (${clock(blocks.length / 25)})`;
      });
    } catch (error) {
      return showError(this.error, error);
    }
    level.hidden = false;
    this.finish = () => this.take(wav(blocks, this.microphone.rate), "recording.wav");
  }

  async stop() {
    await this.microphone.stop();
    this.finish();
    this.microphone = null;
    this.record.textContent = "Record again";
    $(".level", this.form).hidden = true;
  }

  async makeSample() {
    showError(this.error, null);
    try {
      const reply = await ask("v1/audio/speech", { json: { model: "tts-1", input: SAMPLE, response_format: "wav" } });
      this.take(await reply.blob(), "sample.wav");
    } catch (error) {
      showError(this.error, error);
    }
  }
}

function offerFiles(box, transcript, recording) {
  const copy = $(".copy", box);
  copy.onclick = () => copyText(written(transcript.lines, "txt"), copy, $("[role=status]", box));
  for (const button of box.querySelectorAll("[data-format]")) {
    const { format } = button.dataset;
    button.onclick = () => save(asFile(transcript.lines, format), `${recording.name.replace(/\.\w+$/, "")}.${format}`);
  }
}
