/* Small helps: everything here is a convenience, and every page works without it. */
"use strict";

const live = () => document.getElementById("live");
const trouble = () => document.getElementById("trouble");

/* Refreshing pauses while the page is hidden, and while a person selects, types or reads with the keyboard in it. */
let refreshedAt = Date.now();
const busy = () => {
  const part = live();
  const inside = document.activeElement !== document.body && part.contains(document.activeElement);
  return inside || part.querySelector("input[type=checkbox]:checked") || (document.getSelection() + "").length > 0;
};
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target !== live()) return;
  const byEvent = event.detail.requestConfig.triggeringEvent?.type === "refresh";
  const served = stream?.readyState === EventSource.OPEN && Date.now() - refreshedAt < 10000;
  if (document.hidden || busy() || (served && !byEvent)) event.preventDefault();
  else refreshedAt = Date.now();
});

/* Events of the server refresh the page at once; without them its timer does. */
let stream, waiting;
const refreshSoon = () => {
  waiting ??= setTimeout(() => { waiting = undefined; htmx.trigger(live(), "refresh"); }, Math.max(300, 1000 - (Date.now() - refreshedAt)));
};
const listen = () => {
  const path = live()?.dataset.events;
  if (!path || stream || document.hidden) return;
  stream = new EventSource(path);
  stream.addEventListener("job", refreshSoon);
  stream.addEventListener("end", refreshSoon); // a list goes on; behind the end of one job the server answers 204
  stream.addEventListener("text", (event) => write(JSON.parse(event.data)));
};
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { stream?.close(); stream = undefined; } else { listen(); refreshSoon(); }
});

/* The text of a running call, piece by piece: `offset` counts code points, and a new call begins again. */
const written = { call: 0, points: [] };
const write = ({ call, offset, text }) => {
  if (call !== written.call) Object.assign(written, { call, points: [] });
  if (offset > written.points.length) return;
  if (!written.points.length) refreshSoon();
  written.points.length = offset;
  for (const point of text) written.points.push(point);
  show();
};
const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]/gu;
const show = () => {
  const place = document.getElementById("written");
  if (!place || !written.points.length) return;
  let pre = place.querySelector("pre");
  if (!pre) {
    pre = document.createElement("pre");
    pre.tabIndex = 0;
    pre.setAttribute("aria-label", "Answer");
    place.replaceChildren(pre);
  }
  const follows = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 40;
  pre.textContent = written.points.slice(-20000).join("").replace(hidden, (char) => `⟨U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  if (follows) pre.scrollTop = pre.scrollHeight;
};
document.addEventListener("htmx:afterSwap", () => {
  show();
  for (const box of live().querySelectorAll("[data-needs-script]")) box.hidden = false;
});
addEventListener("DOMContentLoaded", listen);

/* An open table stays open. */
document.addEventListener("htmx:beforeSwap", (event) => {
  const open = [...live().querySelectorAll("details[open] > summary")].map((each) => each.textContent);
  event.detail.openDetails = open;
  document.addEventListener("htmx:afterSwap", () => {
    for (const summary of live().querySelectorAll("details > summary"))
      if (open.includes(summary.textContent)) summary.parentElement.open = true;
  }, { once: true });
});
const failed = (event) => {
  trouble().textContent = event.detail.xhr?.status === 404
    ? "This is no longer here: it was purged while you looked at it."
    : "The relay has not answered for a moment. What you see may be old; this page tries again by itself.";
  trouble().hidden = false;
};
document.addEventListener("htmx:responseError", failed);
document.addEventListener("htmx:sendError", failed);
document.addEventListener("htmx:afterRequest", (event) => {
  if (!event.detail.successful) return;
  trouble().hidden = true;
  const time = document.querySelector("#clock time");
  if (time) time.textContent = new Date().toISOString().slice(0, 19).replace("T", " ");
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { button.textContent = label; }, 2000);
});

/* One box selects all rows of the page. */
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-all]")) {
    for (const box of document.querySelectorAll("input[name=id]")) box.checked = event.target.checked;
  } else if (event.target.matches("select[data-submit]")) {
    event.target.form.requestSubmit();
  }
});
for (const box of document.querySelectorAll("[data-needs-script]")) box.hidden = false;
document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
/* No form is sent twice by a double click. */
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
  setTimeout(() => { delete form.dataset.sent; }, 3000);
});
