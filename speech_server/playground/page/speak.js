/** The tab that speaks: voices by language, a sample of each, sound while the rest is still being made, a file. */

import { $, save } from "./elements.js";
import { SPEAKS, fillModels, fillVoices, find, onModels } from "./installed.js";
import { Player } from "./player.js";
import { showRequest, speaking } from "./requests.js";
import { ask } from "./server.js";
import { sampleReader, wav } from "./sound.js";
import { onSubmit } from "./work.js";

// A sentence in each language there are voices for; others get the English one.
const SAMPLES = {
  de: "Guten Tag! So klinge ich.", en: "Hello! This is how I sound.", es: "¡Hola! Así es como sueno.",
  fr: "Bonjour ! Voici ma voix.", hi: "नमस्ते! मेरी आवाज़ ऐसी है।", it: "Ciao! Ecco la mia voce.",
  ja: "こんにちは。これが私の声です。", pt: "Olá! É assim que eu falo.", zh: "你好！这是我的声音。",
};
const DEFAULT_RATE = 24_000;

export function start(tab) {
  const form = $("form", tab);
  const audio = $("audio", tab);
  const made = { blob: null, name: "" };
  let player = null;
  const hush = async () => {
    audio.pause();
    await player?.close();
    player = null;
  };
  const speak = async (order, signal, say) => {
    await hush();
    const rate = find(order.model)?.sample_rate ?? DEFAULT_RATE;
    if (order.response_format === "wav") player = new Player(rate);
    const started = performance.now();
    const first = () => say(`Sounds after ${((performance.now() - started) / 1000).toFixed(1)} s`);
    made.blob = await spoken(order, rate, player, first, signal).catch(async (error) => {
      await hush();
      throw error;
    });
    made.name = `speech.${order.response_format}`;
    $(".download", tab).hidden = false;
    await handOver(player, audio, made.blob);
    player = null;
    const size = `${(made.blob.size / 1000).toFixed(0)} kB`;
    return order.response_format === "wav" ? `${$(".status", form).textContent}, ${size}` : size;
  };
  fillForm(form, showRequest($(".request", tab), form, () => speaking(orderOf(form))));
  let text = null; // the sample's, while its button is at work: what somebody wrote stays where it is
  onSubmit(form, (signal, say) => speak(text ? { ...orderOf(form), input: text } : orderOf(form), signal, say));
  $(".sample", tab).onclick = () => {
    text = sampleFor(form);
    form.requestSubmit();
    text = null;
  };
  $(".download", tab).onclick = () => save(made.blob, made.name);
  tab.addEventListener("left", () => {
    $(".cancel", form).click();
    hush();
  });
}

function fillForm(form, refreshRequest) {
  const voices = () => {
    fillVoices(form.voice, form.model.value);
    refreshRequest();
  };
  onModels(() => {
    fillModels(form.model, SPEAKS);
    voices();
  });
  form.model.addEventListener("change", voices);
  form.speed.addEventListener("input", () => ($("output", form).textContent = `${Number(form.speed.value).toFixed(2)} ×`));
}

function orderOf(form) {
  const order = { model: form.model.value, input: form.input.value, response_format: form.response_format.value };
  if (form.voice.value) order.voice = form.voice.value;
  if (Number(form.speed.value) !== 1) order.speed = Number(form.speed.value);
  return order;
}

/** The sound as a file. What is to be a WAV comes as bare samples, which can sound before the last is there. */
async function spoken(order, rate, player, onFirst, signal) {
  if (!player) return (await ask("v1/audio/speech", { json: order, signal })).blob();
  const reply = await ask("v1/audio/speech", { json: { ...order, response_format: "pcm", sample_rate: rate }, signal });
  const read = sampleReader();
  const pieces = [];
  const reader = reply.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return wav(pieces, rate);
    const samples = read(value);
    if (!pieces.length) onFirst();
    pieces.push(samples);
    player.add(samples);
  }
}

/** The browser's own player goes on where the stream is: from here on it can be paused and wound back. */
async function handOver(player, audio, blob) {
  URL.revokeObjectURL(audio.src);
  audio.src = URL.createObjectURL(blob);
  audio.hidden = false;
  if (player) audio.currentTime = player.heard;
  await audio.play().catch(() => {}); // a format this browser does not play can still be saved
  await player?.close();
}

function sampleFor(form) {
  const voice = find(form.model.value)?.voices?.find(({ id }) => id === form.voice.value);
  return SAMPLES[(voice?.language ?? "en").slice(0, 2)] ?? SAMPLES.en;
}
