/** A transcript on the page: segments as they come, words that can be heard, speakers in colours with names. */

import { $, clock, element } from "./elements.js";

const COLOURS = 8;

/** `box` has a list `.segments` and a fieldset `.speakers`; `audio` plays the recording. */
export class Transcript {
  constructor(box, audio) {
    this.list = $(".segments", box);
    this.speakers = $(".speakers", box);
    this.audio = audio;
    this.clear();
    this.list.onclick = ({ target }) => this.play(target);
    this.list.onkeydown = (event) => this.walk(event);
    audio.onplay = () => this.follow();
  }

  clear() {
    this.segments = [];
    this.names = new Map(); // as the server named them -> as the reader does
    this.list.replaceChildren();
    this.speakers.replaceChildren();
    this.speakers.hidden = true;
  }

  /** What is shown, with the names typed over those of the server. */
  get lines() {
    return this.segments.map((segment) => ({ ...segment, speaker: this.names.get(segment.speaker) ?? segment.speaker }));
  }

  /** A segment of the stream. One with a speaker begins the final list, which replaces what was heard before. */
  add(segment) {
    if (segment.speaker && this.segments.length && !this.segments[0].speaker) this.clear();
    this.segments.push(segment);
    if (segment.speaker) this.meet(segment.speaker);
    this.list.append(this.line(segment));
  }

  line(segment) {
    const start = element("button", {
      type: "button", className: "from", textContent: clock(segment.start),
      "aria-label": `Play from ${clock(segment.start)}`,
    });
    start.dataset.at = segment.start;
    const who = element("span", { className: "who", textContent: this.names.get(segment.speaker) ?? "" });
    const said = element("p", { lang: segment.language ?? "" }, ...words(segment));
    const line = element("li", {}, start, element("div", {}, who, said));
    if (segment.speaker) {
      line.dataset.speaker = segment.speaker;
      line.classList.add(this.colour(segment.speaker));
    }
    return line;
  }

  meet(speaker) {
    if (this.names.has(speaker)) return;
    this.names.set(speaker, speaker.length === 1 ? `Speaker ${speaker}` : speaker);
    const field = element("input", { value: this.names.get(speaker), "aria-label": `Name of ${this.names.get(speaker)}` });
    field.oninput = () => this.rename(speaker, field.value);
    const chip = element("span", { className: `speaker ${this.colour(speaker)}` }, field);
    if (!this.speakers.children.length) this.speakers.append(element("legend", { textContent: "Speakers: type a name" }));
    this.speakers.append(chip);
    this.speakers.hidden = false;
  }

  rename(speaker, name) {
    this.names.set(speaker, name);
    for (const line of this.list.children)
      if (line.dataset.speaker === speaker) $(".who", line).textContent = name;
  }

  colour(speaker) {
    return `voice-${[...this.names.keys()].indexOf(speaker) % COLOURS}`;
  }

  play(target) {
    const at = target.dataset.at;
    if (at === undefined || !this.audio.src) return;
    this.audio.currentTime = Number(at);
    this.audio.play().catch(() => {}); // a format this browser does not play: its player says so
  }

  /** One tab stop a segment; the arrows go through its words, Enter plays from there. */
  walk(event) {
    const { key, target } = event;
    if (key === "Enter" && target.matches(".word")) return this.play(target);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const places = [...target.closest("li").querySelectorAll("[data-at]")];
    places[places.indexOf(target) + step]?.focus();
    event.preventDefault();
  }

  /** Marks the word that sounds, as long as the recording plays. */
  follow() {
    const places = [...this.list.querySelectorAll(".word")];
    const show = () => {
      const now = this.audio.currentTime;
      const at = places.findLastIndex((place) => Number(place.dataset.at) <= now + 0.02);
      for (const place of this.list.querySelectorAll(".now")) if (place !== places[at]) place.classList.remove("now");
      places[at]?.classList.toggle("now", !this.audio.ended);
      if (!this.audio.paused) requestAnimationFrame(show);
    };
    show();
  }
}

/** The text with its own spaces, each word in an element that knows when it was said. */
function words({ text, words: timed = [], start }) {
  const parts = [];
  let at = 0;
  const shown = text.trim();
  for (const { word, start: when } of timed) {
    const found = shown.indexOf(word, at);
    if (found < 0) continue;
    parts.push(shown.slice(at, found));
    const place = element("span", { className: "word", textContent: word, tabIndex: -1 });
    place.dataset.at = when ?? start;
    parts.push(place);
    at = found + word.length;
  }
  return [...parts, shown.slice(at)];
}
