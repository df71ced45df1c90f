/** Makes, finds and fills elements. Text is always text, never markup. */

export const $ = (selector, root = document) => root.querySelector(selector);

/** Names with a hyphen become attributes (`aria-label`), all others properties (`className`, `onclick`). */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** Gives a select its options, `[value, label]` or groups `{label, options}`, and keeps the choice where it can. */
export function fill(select, entries) {
  const chosen = select.value;
  select.replaceChildren(...entries.map((entry) => (entry.options ? group(entry) : option(entry))));
  if ([...select.options].some((made) => made.value === chosen)) select.value = chosen;
}

const option = ([value, label]) => element("option", { value, textContent: label });
const group = ({ label, options }) => element("optgroup", { label }, ...options.map(option));

const names = new Intl.DisplayNames(["en"], { type: "language" });

/** "es" -> "Spanish"; what has no name keeps its code. */
export function languageName(code) {
  try {
    return names.of(code) ?? code;
  } catch {
    return code;
  }
}

/** Seconds as 1:02, or 1:00:02. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // the browser may still be asking where to put it
}
