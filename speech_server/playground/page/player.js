/** Plays samples as they come, one piece after the other without a gap, and knows how much of them was heard. */

const LEAD = 0.05; // seconds before the first piece sounds, so that the next is there in time

export class Player {
  /** `onLevel(level)` while it sounds; `onQuiet()` when all that came has been played. */
  constructor(rate, { onLevel = () => {}, onQuiet = () => {} } = {}) {
    this.rate = rate;
    this.onLevel = onLevel;
    this.onQuiet = onQuiet;
    this.context = new AudioContext();
    this.meter = this.context.createAnalyser();
    this.meter.connect(this.context.destination);
    this.pieces = []; // of what is being said: when each begins and how long it is
    this.sounding = new Set();
    this.measuring = false;
    this.next = 0;
  }

  get playing() {
    return this.sounding.size > 0;
  }

  /** Seconds heard since `reset`. */
  get heard() {
    const now = this.context.currentTime;
    return this.pieces.reduce((sum, { start, length }) => sum + Math.max(0, Math.min(length, now - start)), 0);
  }

  add(samples) {
    if (!samples.length) return;
    this.context.resume();
    const buffer = this.context.createBuffer(1, samples.length, this.rate);
    buffer.getChannelData(0).set(Float32Array.from(samples, (sample) => sample / 32768));
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.meter);
    const start = Math.max(this.next, this.context.currentTime + LEAD);
    source.start(start);
    this.next = start + buffer.duration;
    this.pieces.push({ start, length: buffer.duration });
    source.onended = () => this.ended(source);
    this.sounding.add(source);
    if (!this.measuring) this.measure();
  }

  /** Another thing is said from here on: `heard` begins again. */
  reset() {
    this.pieces = [];
  }

  /** Silence at once; what has not sounded yet never does. */
  stop() {
    for (const source of this.sounding) {
      source.onended = null;
      source.stop();
    }
    this.sounding.clear();
    this.next = 0;
    this.onLevel(0);
  }

  async close() {
    this.stop();
    if (this.context.state !== "closed") await this.context.close();
  }

  ended(source) {
    this.sounding.delete(source);
    if (this.playing) return;
    this.onLevel(0);
    this.onQuiet();
  }

  measure() {
    this.measuring = this.playing;
    if (!this.measuring) return;
    const wave = new Float32Array(this.meter.fftSize);
    this.meter.getFloatTimeDomainData(wave);
    this.onLevel(Math.sqrt(wave.reduce((sum, sample) => sum + sample * sample, 0) / wave.length));
    requestAnimationFrame(() => this.measure());
  }
}
