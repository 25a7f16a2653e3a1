// The script of all pages.

import { send, signOut } from "./session.js";

// Shows a message, also to screen readers.
export function announce(text) {
  const status = document.getElementById("status");
  status.textContent = "";
  // Emptied first: screen readers read the same text again.
  requestAnimationFrame(() => (status.textContent = text));
}

for (const type of ["pointerdown", "keydown"]) {
  addEventListener(type, () => (document.getElementById("status").textContent = ""));
}

// Runs the work of a button or a form. The button is disabled until it is done.
export async function run(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await work();
  } catch (error) {
    console.warn(error);
    announce("That did not work. Please try again in a moment.");
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

export function localTimes(within) {
  const format = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
  for (const time of within.querySelectorAll("time[datetime]:not([datetime=''])")) {
    time.textContent = format.format(new Date(time.dateTime));
  }
}

// Buttons that need a script are disabled until it runs, so that no click gets lost.
export function enable(within) {
  for (const button of within.querySelectorAll("button[disabled]")) button.disabled = false;
}

localTimes(document);

// The browser may show a page from before the sign-out: load it again.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// A form can be sent once only. So the access token is renewed first, if it has to be.
for (const form of document.querySelectorAll("form[data-renew]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(event.submitter ?? form, async () => {
      await send("GET", "/alive");
      form.submit();
    });
  });
}

const out = document.getElementById("sign-out");
if (out) enable(out.parentElement);
out?.addEventListener("click", () =>
  run(out, async () => {
    await signOut();
    sessionStorage.clear();
    location.assign("/login?why=out");
  }),
);
