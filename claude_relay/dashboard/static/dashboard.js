/* Small helps: everything here is a convenience, and every page works without it. */
"use strict";

const live = () => document.getElementById("live");
const trouble = () => document.getElementById("trouble");

/* Refreshing pauses while the page is hidden, and while a person selects, types or reads with the keyboard in it. */
document.addEventListener("htmx:beforeRequest", (event) => {
  const part = live();
  if (event.target !== part) return;
  const inside = document.activeElement !== document.body && part.contains(document.activeElement);
  const selected = part.querySelector("input[type=checkbox]:checked") || (document.getSelection() + "").length > 0;
  if (document.hidden || inside || selected) event.preventDefault();
});
/* An open table stays open. */
document.addEventListener("htmx:beforeSwap", (event) => {
  const open = [...live().querySelectorAll("details[open] > summary")].map((each) => each.textContent);
  event.detail.openDetails = open;
  document.addEventListener("htmx:afterSwap", () => {
    for (const summary of live().querySelectorAll("details > summary"))
      if (open.includes(summary.textContent)) summary.parentElement.open = true;
  }, { once: true });
});
const failed = () => {
  trouble().textContent = "The relay has not answered for a moment. What you see may be old; this page tries again by itself.";
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
/* No form is sent twice by a double click. */
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
  setTimeout(() => { delete form.dataset.sent; }, 3000);
});
