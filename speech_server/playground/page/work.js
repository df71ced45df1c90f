/** A form's work: one at a time, can be cancelled, says how long it takes, and its error stays until the next try. */

import { $ } from "./elements.js";

/**
 * `work(signal, say)` may `say` how it stands, and returns what its status line says at the end. Beside its fields the form has a submit button, a
 * `.cancel` button, a `.status` line, a `.timer`, and an `.error` line.
 */
export function onSubmit(form, work) {
  const parts = { cancel: $(".cancel", form), status: $(".status", form), timer: $(".timer", form), error: $(".error", form) };
  let running = null;
  parts.cancel.onclick = () => running?.abort();
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    const stop = begin(form, parts);
    try {
      parts.status.textContent = (await work(running.signal, (text) => (parts.status.textContent = text))) ?? "";
    } catch (error) {
      parts.status.textContent = error.name === "AbortError" ? "Cancelled" : "";
      if (error.name !== "AbortError") showError(parts.error, error);
    }
    running = null;
    stop();
  };
}

export function showError(line, error) {
  line.textContent = error?.message ?? "";
  line.hidden = !error;
}

function begin(form, { cancel, status, timer, error }) {
  const submit = $("button[type=submit]", form);
  const started = performance.now();
  const tick = () => (timer.textContent = `${((performance.now() - started) / 1000).toFixed(1)} s`);
  const ticking = setInterval(tick, 100);
  showError(error, null);
  status.textContent = "Working …";
  // Not `disabled`: whoever pressed it with the keyboard would lose their place on the page.
  submit.setAttribute("aria-disabled", "true");
  cancel.hidden = false;
  return () => {
    clearInterval(ticking);
    tick();
    submit.removeAttribute("aria-disabled");
    if (document.activeElement === cancel) submit.focus();
    cancel.hidden = true;
  };
}
