/** One realtime session: the WebSocket, its events, and the microphone that feeds it. */

import { openMicrophone } from "./microphone.js";
import { Refused, socket } from "./server.js";
import { toBase64 } from "./sound.js";

const OPENS_WITHIN = 60_000; // ms: the first session loads its models

/**
 * Opens the microphone, then the session; resolves when both are there. `path` is its address, `session` what it is set
 * to; `on` has a function for each type of event, `block` for each block of the microphone, and `ended` for its end,
 * however it comes.
 */
export class RealtimeSession {
  constructor({ path, query, session }, on) {
    Object.assign(this, { path, query, session, on, opened: false, over: false, left: false });
    this.waiting = []; // blocks spoken before the session was there
  }

  async open() {
    this.microphone = await openMicrophone((block) => this.hear(block));
    try {
      if (this.left) throw new Refused("The session was ended before it began.");
      await this.connect();
    } catch (error) {
      await this.release();
      throw error;
    }
    this.send("session.update", { session: this.withFormat() });
    for (const samples of this.waiting.splice(0)) this.append(samples);
    return this;
  }

  connect() {
    return new Promise((resolve, reject) => {
      const fail = (why) => reject(new Refused(why));
      const late = setTimeout(() => fail("The server did not open the session within a minute."), OPENS_WITHIN);
      try {
        this.socket = socket(this.path, this.query);
      } catch (error) {
        clearTimeout(late);
        return reject(error);
      }
      this.socket.onopen = () => {
        clearTimeout(late);
        this.opened = true;
        resolve();
      };
      this.socket.onmessage = ({ data }) => this.receive(JSON.parse(data));
      this.socket.onclose = ({ code, reason }) => {
        clearTimeout(late);
        if (!this.opened) return fail("The server refused the session. Is it up, is the key right, does it know the model?");
        this.ended(code === 1000 ? "" : reason || "The connection to the server broke off.");
      };
    });
  }

  get rate() {
    return this.microphone.rate;
  }

  withFormat() {
    const audio = { ...this.session.audio, input: { ...this.session.audio?.input, format: { type: "audio/pcm", rate: this.rate } } };
    return { ...this.session, audio };
  }

  send(type, fields = {}) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type, ...fields }));
  }

  append(samples) {
    this.send("input_audio_buffer.append", { audio: toBase64(samples) });
  }

  hear(block) {
    this.on.block?.(block);
    if (this.socket?.readyState === WebSocket.OPEN) this.append(block.samples);
    else this.waiting.push(block.samples);
  }

  receive(event) {
    this.on[event.type]?.(event);
  }

  ended(reason) {
    if (this.over) return;
    this.over = true;
    this.microphone.stop();
    this.on.ended?.(reason);
  }

  /** The person leaves, perhaps before the session was there. */
  async close() {
    this.left = true;
    await this.release();
  }

  async release() {
    this.over = true;
    await this.microphone?.stop();
    this.socket?.close(1000);
  }
}
