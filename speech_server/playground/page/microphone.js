/** Opens the microphone: mono samples in blocks of 40 ms, with their level, until it is stopped. */

import { Refused } from "./server.js";

const RATE = 24_000;
const WHY = {
  NotAllowedError: "The browser may not use the microphone: allow it for this page, and try again.",
  NotFoundError: "There is no microphone here.",
  NotReadableError: "Another program holds the microphone.",
};

/** `onBlock({samples, level})`. Resolves to `{rate, stop}`; throws Refused with a reason. */
export async function openMicrophone(onBlock) {
  if (!navigator.mediaDevices)
    throw new Refused("Browsers give the microphone only to pages of https:// or of this machine (http://127.0.0.1).");
  const audio = { echoCancellation: true, noiseSuppression: true, channelCount: 1 };
  const stream = await navigator.mediaDevices.getUserMedia({ audio }).catch((error) => {
    throw new Refused(WHY[error.name] ?? `The microphone does not open: ${error.message}`);
  });
  const release = () => stream.getTracks().forEach((track) => track.stop());
  try {
    const context = await listen(stream, onBlock);
    const stop = async () => {
      release();
      if (context.state !== "closed") await context.close();
    };
    return { rate: context.sampleRate, stop };
  } catch (error) {
    release();
    throw new Refused(`The sound of the microphone cannot be read: ${error.message}`);
  }
}

async function listen(stream, onBlock) {
  let context = new AudioContext({ sampleRate: RATE });
  let source;
  try {
    source = context.createMediaStreamSource(stream);
  } catch {
    // Firefox resamples no microphone: take it at its own rate, which the server takes as well.
    await context.close();
    context = new AudioContext();
    source = context.createMediaStreamSource(stream);
  }
  await context.audioWorklet.addModule("page/capture.js");
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  capture.port.onmessage = ({ data }) => onBlock(data);
  source.connect(capture);
  await context.resume();
  return context;
}

/** Shows a level on an element with the class `level`: in decibels, which is how loudness is heard. */
export function showLevel(bar, level) {
  const decibels = 20 * Math.log10(Math.max(level, 1e-5));
  bar.style.setProperty("--level", Math.max(0, Math.min(1, 1 + decibels / 60)).toFixed(2));
}
