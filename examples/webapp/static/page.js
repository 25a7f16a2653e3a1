// What all pages do.

import { send, signOut } from "./session.js";

// For those who see it and those who hear it.
export function announce(text) {
  const status = document.getElementById("status");
  status.textContent = "";
  // A text that is the same as before is news, too.
  requestAnimationFrame(() => (status.textContent = text));
}

for (const type of ["pointerdown", "keydown"]) {
  addEventListener(type, () => (document.getElementById("status").textContent = ""));
}

// Runs what a button or a form asks for, with the button off until it is done.
export async function run(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await work();
  } catch (error) {
    console.warn(error);
    announce("That did not work. Nothing is lost: please try again in a moment.");
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

// What needs a script is off until that runs: nothing that is pressed before gets lost.
export function enable(within) {
  for (const button of within.querySelectorAll("button[disabled]")) button.disabled = false;
}

localTimes(document);

// A page that a browser kept as it was shows what has been signed out since.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// A form is sent once. Before that, make sure that the access token outlives the way.
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
