// The official client for JavaScript.
import fs from "node:fs";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.GATEWAY, apiKey: "any" });
const clip = () => fs.createReadStream(`${process.env.CLIPS}/english.opus`);
const hear = (more = {}) => client.audio.transcriptions.create({ model: "whisper-1", file: clip(), ...more });

function heard(what, text) {
  console.log(`  ${what}: ${text.trim().replaceAll("\n", " ").slice(0, 70)}`);
  if (!text.toLowerCase().includes("quick brown fox")) throw new Error(text);
}

heard("transcription", (await hear()).text);
heard("srt", await hear({ response_format: "srt" }));
let streamed = "";
for await (const event of await hear({ stream: true }))
  if (event.type === "transcript.text.delta") streamed += event.delta;
heard("streamed", streamed);
heard("translation", (await client.audio.translations.create({ model: "whisper-1", file: clip() })).text);
const speech = await client.audio.speech.create({
  model: process.env.SPEECH_MODEL, voice: "joe", input: "Hello from a queue endpoint.", response_format: "wav",
});
const size = (await speech.arrayBuffer()).byteLength;
console.log(`  speech: ${size} bytes`);
if (size < 10_000) throw new Error("too little sound");
console.log(`  models: ${(await client.models.list()).data.length}`);
try {
  await hear({ model: "someone/unknown" });
  throw new Error("an unknown model was no error");
} catch (error) {
  if (error.status !== 404) throw error;
  console.log(`  error: ${error.status} ${error.code}`);
}
