/** The audio thread's part of microphone.js: gathers blocks of 40 ms as 16-bit samples, with their level. */

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(Math.round(sampleRate / 25));
    this.filled = 0;
    this.energy = 0;
  }

  process([[channel]]) {
    for (const sample of channel ?? []) {
      const bounded = Math.max(-1, Math.min(1, sample));
      this.block[this.filled++] = bounded * 32767;
      this.energy += bounded * bounded;
      if (this.filled === this.block.length) this.hand();
    }
    return true;
  }

  hand() {
    const samples = this.block.slice();
    this.port.postMessage({ samples, level: Math.sqrt(this.energy / this.filled) }, [samples.buffer]);
    this.filled = this.energy = 0;
  }
}

registerProcessor("capture", Capture);
