/** The request a form makes, to be copied: for a shell, in Python, as a Runpod job. */

import { $, element } from "./elements.js";
import { key, path } from "./server.js";

const TABS = [["shell", "curl"], ["python", "Python"], ["job", "Runpod job"]];

/** Fills `box`; `describe()` gives `{shell, python, job}` and is asked again whenever `form` changes. */
export function showRequest(box, form, describe) {
  const code = element("code");
  const copy = element("button", { type: "button", className: "quiet", textContent: "Copy" });
  const name = box.id;
  const choices = TABS.map(([value, label], index) => {
    const choice = element("input", { type: "radio", name, value, checked: index === 0, onchange: () => show() });
    return element("label", {}, choice, label);
  });
  const kinds = element("fieldset", { className: "choice" }, element("legend", { className: "unseen", textContent: "Written as" }), ...choices);
  const said = element("span", { className: "unseen", role: "status" });
  const pre = element("pre", { tabIndex: 0, role: "region", "aria-label": "The request" }, code);
  box.append(element("div", { className: "row between" }, kinds, copy, said), pre);
  const show = () => (code.textContent = describe()[$("input:checked", box).value]);
  copy.onclick = () => copyText(code.textContent, copy, said);
  for (const kind of ["input", "change"]) form.addEventListener(kind, () => show());
  addEventListener("key-changed", () => show());
  show();
  return show;
}

export async function copyText(text, button, said) {
  const label = button.textContent;
  const done = await navigator.clipboard.writeText(text).then(() => "Copied", () => "Select the text and copy it: the browser gives pages no clipboard here");
  button.textContent = said.textContent = done;
  setTimeout(() => (button.textContent = label), 2000);
}

export const base = () => new URL("v1", document.baseURI).href;

const quoted = (text) => (/^[\w./:@=-]+$/.test(text) ? text : `'${String(text).replaceAll("'", "'\\''")}'`);
const python = (value) => {
  if (value === true) return "True";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  return value && typeof value === "object"
    ? `{${Object.entries(value).map(([name, inner]) => `${python(name)}: ${python(inner)}`).join(", ")}}`
    : JSON.stringify(value);
};
const secret = () => (key.get() ? ' -H "Authorization: Bearer $API_KEY"' : "");
const client = () =>
  key.get()
    ? `import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${base()}", api_key=os.environ["API_KEY"])`
    : `from openai import OpenAI\n\nclient = OpenAI(base_url="${base()}", api_key="any")`;
const job = (input) => JSON.stringify({ input }, null, 2);
const given = (fields) => Object.entries(fields).map(([name, value]) => `${name}=${python(value)}`).join(", ");

const FILE = "talk.mp3";
const OWN = ["diarize", "num_speakers", "hotwords"]; // not OpenAI's: its client sends them beside its own fields

/** `route`: transcriptions or translations; `fields` of its form. */
export function hearing(route, fields) {
  const flat = Object.entries(fields).flatMap(([name, value]) =>
    Array.isArray(value) ? value.map((one) => [`${name}[]`, one]) : [[name, value]],
  );
  const extra = Object.fromEntries(Object.entries(fields).filter(([name]) => OWN.includes(name)));
  const own = Object.fromEntries(Object.entries(fields).filter(([name]) => !OWN.includes(name)));
  const beside = Object.keys(extra).length ? `, extra_body=${python(extra)}` : "";
  return {
    shell: [`curl ${base()}/audio/${route}${secret()} -F file=@${FILE}`, ...flat.map(([name, value]) => `-F ${quoted(`${name}=${value}`)}`)].join(" \\\n  "),
    python: `${client()}
with open("${FILE}", "rb") as file:
    heard = client.audio.${route}.create(file=file, ${given(own)}${beside})
print(heard.text)`,
    job: job({ path: `/v1/audio/${route}`, file_url: `https://example.com/${FILE}`, body: fields }),
  };
}

export function speaking(fields) {
  const name = `speech.${fields.response_format}`;
  return {
    shell: `curl ${base()}/audio/speech${secret()} -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify(fields))} -o ${name}`,
    python: `${client()}
with client.audio.speech.with_streaming_response.create(${given(fields)}) as spoken:
    spoken.stream_to_file("${name}")`,
    job: job({ path: "/v1/audio/speech", body: fields }),
  };
}

/** A WebSocket is no request curl makes: the shell has the project's own command. */
export function conversing({ path: address, query, session }) {
  const asked = Object.fromEntries(Object.entries(query).filter(([, value]) => value));
  const translates = address.endsWith("/translations");
  const { model, ...extra } = asked;
  const beside = Object.keys(extra).length ? `, extra_query=${python(extra)}` : "";
  const options = { intent: translates ? "translation" : asked.intent, model, language: asked.language };
  const given = Object.entries(options).flatMap(([name, value]) => (value ? [`--${name} ${quoted(value)}`] : []));
  return {
    shell: `python -m endpoint talk ${FILE} --at ${base()} ${given.join(" ")}`,
    python: `import asyncio

from openai import AsyncOpenAI


async def main() -> None:
    client = AsyncOpenAI(base_url="${base()}", api_key="${key.get() ? "YOUR_KEY" : "any"}")
    async with client.realtime${translates ? ".translations" : ""}.connect(model=${python(model ?? "")}${beside}) as session:
        await session.session.update(session=${python(session)})
        async for event in session:  # beside it: session.${translates ? "session." : ""}input_audio_buffer.append(audio=...)
            print(event.type)


asyncio.run(main())`,
    job: job({ path: `/${address}`, query: asked }),
  };
}

export function installing(id) {
  const route = `models/${path(id)}`;
  return {
    shell: `curl -X POST ${quoted(`${base()}/${route}`)}${secret()} -H 'Accept: text/event-stream'`,
    python: `${client()}\nprint(client.post(${python(`/${route}`)}, cast_to=object))`,
    job: job({ method: "POST", path: `/v1/${route}` }),
  };
}
