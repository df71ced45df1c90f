/** A transcript as a file: plain text, SubRip, WebVTT, JSON. Subtitles are cut at words: two lines, seven seconds. */

const LINE = 42; // characters, and
const LONGEST = 7; // seconds: what a reader can follow

const TYPES = { txt: "text/plain", srt: "application/x-subrip", vtt: "text/vtt", json: "application/json" };
const WRITERS = { txt, srt, vtt, json };

/** `lines` are `{start, end, text, speaker?, words?}`. */
export const written = (lines, format) => WRITERS[format](lines);
export const asFile = (lines, format) => new Blob([written(lines, format)], { type: TYPES[format] });

function txt(lines) {
  let last;
  const parts = lines.map(({ speaker, text }) => {
    const turn = speaker && speaker !== last ? `\n${speaker}: ` : " ";
    last = speaker;
    return turn + text.trim();
  });
  return `${parts.join("").trim()}\n`;
}

function json(lines) {
  const segments = lines.map(({ start, end, text, speaker, words }) => ({ start, end, speaker, text: text.trim(), words }));
  return `${JSON.stringify({ segments }, null, 2)}\n`;
}

function srt(lines) {
  const cue = ({ start, end, text, speaker }, index) => {
    const said = (speaker ? `${speaker}: ${text}` : text).replaceAll("-->", "->");
    return `${index + 1}\n${stamp(start, ",")} --> ${stamp(end, ",")}\n${said}\n\n`;
  };
  return lines.flatMap(cues).map(cue).join("");
}

function vtt(lines) {
  const safe = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const cue = ({ start, end, text, speaker }) => {
    const voice = speaker ? `<v ${safe(speaker)}>` : "";
    return `${stamp(start, ".")} --> ${stamp(end, ".")}\n${voice}${safe(text)}\n\n`;
  };
  return `WEBVTT\n\n${lines.flatMap(cues).map(cue).join("")}`;
}

function stamp(seconds, point) {
  const ms = Math.round(seconds * 1000);
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  const rest = String(ms % 1000).padStart(3, "0");
  return `${two(ms / 3_600_000)}:${two((ms / 60_000) % 60)}:${two((ms / 1000) % 60)}${point}${rest}`;
}

function cues(segment) {
  if (!segment.words?.length) return [{ ...segment, text: wrapped(segment.text.trim()) }];
  const found = [];
  let cue = null;
  for (const { word, start, end } of segment.words) {
    if (cue && `${cue.text} ${word}`.length <= 2 * LINE && end - cue.start <= LONGEST) {
      Object.assign(cue, { text: `${cue.text} ${word}`, end });
    } else {
      cue = { start, end, text: word, speaker: segment.speaker };
      found.push(cue);
    }
  }
  return found.map((made) => ({ ...made, text: wrapped(made.text) }));
}

const wrapped = (text) => text.split("\n").map(halved).join("\n");

/** In two lines of about the same length, where one is not enough. */
function halved(text) {
  if (text.length <= LINE) return text;
  const middle = text.length / 2;
  const spaces = [...text.matchAll(/ /g)].map((found) => found.index);
  const at = spaces.sort((one, other) => Math.abs(one - middle) - Math.abs(other - middle))[0];
  return at === undefined ? text : `${text.slice(0, at)}\n${text.slice(at + 1)}`;
}
